// A store engine between scratchpads and a memory, in the cycles that tests/rtl/store_library.py asks for.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "Vtop.h"

struct Run {
    const uint32_t* commands;
    size_t count, words;
    uint8_t *memory, *activation, *accumulators, *tables;
    size_t memory_bytes, activation_bytes, accumulator_bytes, table_bytes, bus_bytes;
    // Cycles of acceptance and of `done` of each command; codes of errors in their order, as many as commands at most.
    int64_t *accepted, *done;
    uint8_t* errors;
    uint64_t seed;
    double idle, stall;  // probabilities: no command is offered; a channel of the memory is not ready
    int64_t latency, reset_at, limit;
    int64_t beats, first_beat, last_beat;  // what was seen of W
};

namespace {

struct Burst {
    uint64_t address;
    unsigned beats;
};

struct Beat {
    uint64_t address;
    std::vector<uint8_t> data, strobes;
};

// What a port offered and was not taken stays as it is.
template <size_t N> struct Steady {
    bool waits = false;
    uint8_t payload[N] = {};
    bool broken(bool valid, bool ready, const void* now, size_t bytes) {
        const bool broke = waits && (!valid || std::memcmp(payload, now, bytes));
        waits = valid && !ready;
        std::memcpy(payload, now, bytes);
        return broke;
    }
};

}  // namespace

extern "C" int64_t run(Run* given) {
    Run& r = *given;
    auto top = std::make_unique<Vtop>();
    std::mt19937_64 random(r.seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    auto chance = [&](double p) { return p > 0 && uniform(random) < p; };
    size_t accepted = 0, done = 0, failures = 0;
    int64_t broken = 0;
    bool offered = false;
    const size_t bus = r.bus_bytes, line = 2 * bus;
    std::deque<Burst> addresses, reads;
    std::deque<Beat> beats;
    struct Answer { int64_t due; std::vector<Beat> beats; bool fails; };
    std::deque<Answer> answers;
    std::vector<Beat> burst;
    int64_t read_due = 0;
    Steady<16> steady_address;
    Steady<256> steady_data;
    auto read = [&](const uint8_t* memory, size_t size, size_t address, void* data, size_t bytes) {
        if (address >= size) ++broken;
        // What lies beyond the end is anything.
        for (size_t i = 0; i < bytes; ++i)
            static_cast<uint8_t*>(data)[i] = address + i < size ? memory[address + i] : uint8_t(random());
    };
    for (int64_t cycle = 0; (done < r.count || !answers.empty()) && cycle < r.limit; ++cycle) {
        top->rst = cycle < 2 || cycle == r.reset_at;
        if (top->rst) {
            accepted = done = failures = 0;
            offered = false;
            addresses.clear(), reads.clear(), burst.clear(), answers.clear();
            steady_address.waits = steady_data.waits = false;
            r.beats = 0;
        }
        offered = !top->rst && accepted < r.count && (offered || !chance(r.idle));
        top->command___05Fvalid = offered;
        if (offered) std::memcpy(&top->command___05Fpayload, r.commands + accepted * r.words, 4 * r.words);
        top->write_port___05Fawready = !chance(r.stall);
        top->write_port___05Fwready = !chance(r.stall);
        top->read___05Frequest___05Fready = !chance(r.stall);
        // Answers stay until they are taken; what was written is in place when the answer is given.
        const bool answers_now = !answers.empty() && answers.front().due <= cycle;
        top->write_port___05Fbvalid = answers_now;
        top->write_port___05Fbresp = answers_now && answers.front().fails ? 2 : 0;
        const bool gives = !reads.empty() && read_due <= cycle;
        top->read___05Fdata___05Fvalid = gives;
        if (gives) {
            const uint64_t address = reads.front().address;
            const bool fails = address + bus > r.memory_bytes;
            uint8_t data[128] = {};
            if (!fails) std::memcpy(data, r.memory + address, bus);
            uint8_t payload[160] = {};
            std::memcpy(payload, data, bus);
            payload[bus] = uint8_t(fails | 2);  // error, last
            std::memcpy(&top->read___05Fdata___05Fpayload, payload, sizeof(top->read___05Fdata___05Fpayload));
        }
        top->clk = 0;
        top->eval();
        bool reads_elements = false, reads_tables = false, reads_activation = false;
        uint8_t elements[1024], entries[1024], lines[1024];
        if (!top->rst) {
            const bool accepts = offered && top->command___05Fready;
            if (top->done) r.done[done < r.count ? done : 0] = cycle, broken += done++ >= accepted;
            if (top->error) {
                if (failures < r.count) r.errors[failures] = top->error;
                ++failures;
            }
            if (accepts) r.accepted[accepted++] = cycle, offered = false;

            const bool writes = top->activation_write___05Fenable, before = random() & 1;
            auto write = [&] {
                const size_t address = bus * size_t(top->activation_write___05Findex);
                const auto* data = reinterpret_cast<const uint8_t*>(&top->activation_write___05Fdata);
                for (size_t i = 0; i < bus; ++i)
                    if (writes && (top->activation_write___05Fmask >> i & 1)) {
                        if (address + i >= r.activation_bytes) ++broken;
                        else r.activation[address + i] = data[i];
                    }
            };
            if (before) write();
            reads_elements = top->elements___05Fenable;
            reads_tables = top->tables___05Fenable;
            reads_activation = top->activation_read___05Fenable;
            if (reads_elements)
                read(r.accumulators, r.accumulator_bytes, 4 * size_t(top->elements___05Findex), elements, line);
            if (reads_tables) read(r.tables, r.table_bytes, top->tables___05Faddress, entries, bus);
            if (reads_activation) {
                broken += top->activation_read___05Faddress % bus != 0;
                if (top->activation_read___05Faddress < r.activation_bytes)
                    read(r.activation, r.activation_bytes, top->activation_read___05Faddress, lines, bus);
            }
            if (!before) write();

            const bool addressed = top->write_port___05Fawvalid && top->write_port___05Fawready;
            const uint64_t address = top->write_port___05Fawaddr;
            uint64_t offer[2] = {address, top->write_port___05Fawlen};
            broken += steady_address.broken(top->write_port___05Fawvalid, top->write_port___05Fawready, offer, 16);
            if (top->write_port___05Fwvalid && addresses.empty()) ++broken;  // data before their address
            uint8_t data[256] = {};
            std::memcpy(data, &top->write_port___05Fwdata, bus);
            std::memcpy(data + bus, &top->write_port___05Fwstrb, (bus + 7) / 8);
            for (size_t i = 0; i < bus; ++i)
                if (!(data[bus + i / 8] >> i % 8 & 1)) data[i] = 0;
            broken += steady_data.broken(top->write_port___05Fwvalid, top->write_port___05Fwready, data, 2 * bus);
            if (top->write_port___05Fwvalid && top->write_port___05Fwready && !addresses.empty()) {
                if (!r.beats++) r.first_beat = cycle;
                r.last_beat = cycle;
                Beat beat{addresses.front().address + burst.size() * bus, {data, data + bus}, {}};
                for (size_t i = 0; i < bus; ++i) beat.strobes.push_back(data[bus + i / 8] >> i % 8 & 1);
                burst.push_back(beat);
                const bool last = burst.size() == addresses.front().beats;
                broken += last != bool(top->write_port___05Fwlast);
                if (last) {
                    bool fails = false;
                    for (auto& item : burst) fails |= item.address + bus > r.memory_bytes;
                    const int64_t wait = r.latency + (r.stall > 0 ? int64_t(random() % 8) : 0);
                    answers.push_back({cycle + 1 + wait, burst, fails});
                    burst.clear();
                    addresses.pop_front();
                }
            }
            if (addressed) {
                const unsigned count = top->write_port___05Fawlen + 1;
                addresses.push_back({address, count});
                broken += address % bus || count > 64 || address / 4096 != (address + count * bus - 1) / 4096;
                broken += size_t(1) << top->write_port___05Fawsize != bus || top->write_port___05Fawburst != 1;
            }
            if (answers_now) {
                for (auto& beat : answers.front().beats)
                    for (size_t i = 0; i < bus && !answers.front().fails; ++i)
                        if (beat.strobes[i]) r.memory[beat.address + i] = beat.data[i];
                broken += !top->write_port___05Fbready;
                answers.pop_front();
            }
            if (gives && top->read___05Fdata___05Fready) reads.pop_front();
            if (top->read___05Frequest___05Fvalid && top->read___05Frequest___05Fready) {
                uint64_t request = 0;
                std::memcpy(&request, &top->read___05Frequest___05Fpayload, 8);
                reads.push_back({request & ((uint64_t(1) << 48) - 1), unsigned(request >> 48) + 1});
                broken += reads.back().beats != 1 || reads.back().address % bus;
                // Reads overtake writes that have no answer yet.
                read_due = cycle + 1 + int64_t(random() % uint64_t(r.latency + 1)) / 4;
            }
        }
        top->clk = 1;
        top->eval();
        if (reads_elements) std::memcpy(&top->elements___05Fdata, elements, line);
        if (reads_tables) std::memcpy(&top->tables___05Fdata, entries, bus);
        if (reads_activation) std::memcpy(&top->activation_read___05Fdata, lines, bus);
    }
    return done < r.count ? -1 : broken;
}
