// Drives any Verilated component by its ports' numbers, and its streams at random paces: no test is decided here.
// PORTS is defined above this text: one X(name) for each port, after clk and rst, in the order of their numbers.

#include <cstdint>
#include <cstring>

#include "Vtop.h"

namespace {

struct Port {
    void* data;
    uint32_t bytes;
};

#define X(name) +1
constexpr int kPorts = 0 PORTS;
#undef X

struct Simulation {
    VerilatedContext context;
    Vtop top{&context};
    Port ports[kPorts] = {
#define X(name) {&top.name, sizeof(top.name)},
        PORTS
#undef X
    };
    uint64_t random = 1;

    bool is_set(int port) const { return *static_cast<uint8_t*>(ports[port].data) & 1; }
    void set(int port, bool value) { *static_cast<uint8_t*>(ports[port].data) = value; }
    void edge() {
        top.clk = 1;
        top.eval();
        top.clk = 0;
    }
    // xorshift64*
    uint32_t next() {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        return static_cast<uint32_t>((random * 0x2545F4914F6CDD1DULL) >> 32);
    }
};

}  // namespace

extern "C" {

// One end of a stream, as `compiled.py` lays it out.
struct StreamEnd {
    int32_t valid, ready, payload, source;
    uint64_t count, done;     // payloads to move, payloads moved
    uint32_t pace, bytes;     // probability in 2^-16 of offering or taking in a cycle; bytes of a payload in `data`
    uint8_t* data;            // [count][bytes]
    uint64_t* cycles;         // [count]: in which cycle each moved
    uint8_t *last, *mask;     // [bytes]: what was on offer in the last cycle; bits that a payload has
    uint32_t offers, broken;  // on offer since the last cycle; 1 + which rule of streams was broken
};

Simulation* simulation_create() { return new Simulation; }

void simulation_destroy(Simulation* simulation) { delete simulation; }

void simulation_set(Simulation* simulation, int port, const uint8_t* value) {
    memcpy(simulation->ports[port].data, value, simulation->ports[port].bytes);
}

void simulation_get(Simulation* simulation, int port, uint8_t* value) {
    simulation->top.eval();
    memcpy(value, simulation->ports[port].data, simulation->ports[port].bytes);
}

uint32_t simulation_bytes(Simulation* simulation, int port) { return simulation->ports[port].bytes; }

void simulation_reset(Simulation* simulation, int cycles) {
    simulation->top.rst = 1;
    for (int cycle = 0; cycle < cycles; ++cycle) {
        simulation->top.eval();
        simulation->edge();
    }
    simulation->top.rst = 0;
}

// Moves payloads until every stream has moved all of its own, or `limit` cycles have passed; returns the cycles.
uint64_t simulation_exchange(Simulation* s, StreamEnd* ends, int count, uint64_t limit, uint64_t seed) {
    s->random = seed * 2 + 1;
    for (uint64_t cycle = 0; cycle < limit; ++cycle) {
        bool finished = true;
        for (StreamEnd* end = ends; end != ends + count; ++end) {
            finished &= end->done == end->count;
            const bool wants = end->done < end->count && (s->next() & 0xffff) < end->pace;
            uint8_t* payload = static_cast<uint8_t*>(s->ports[end->payload].data);
            if (!end->source) {
                s->set(end->ready, wants);
            } else if (wants || end->offers) {
                s->set(end->valid, true);
                memcpy(payload, end->data + end->done * end->bytes, end->bytes);
                end->offers = 1;
            } else {
                s->set(end->valid, false);
                for (uint32_t byte = 0; byte < end->bytes; ++byte) payload[byte] = s->next() & end->mask[byte];
            }
        }
        if (finished) return cycle;
        s->top.eval();
        for (StreamEnd* end = ends; end != ends + count; ++end) {
            const uint8_t* payload = static_cast<uint8_t*>(s->ports[end->payload].data);
            const bool valid = s->is_set(end->valid), moves = valid && s->is_set(end->ready);
            if (!end->source) {
                if (end->offers && !valid) end->broken = 1;
                if (end->offers && memcmp(payload, end->last, end->bytes)) end->broken = 2;
                memcpy(end->last, payload, end->bytes);
                end->offers = valid && !moves;
            }
            if (moves) {
                if (!end->source) memcpy(end->data + end->done * end->bytes, payload, end->bytes);
                if (end->source) end->offers = 0;
                end->cycles[end->done++] = cycle;
            }
        }
        s->edge();
    }
    return limit;
}
}
