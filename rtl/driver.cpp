// The world around the verilated unit: a host at its control port and a memory at its AXI4 port. One call of
// bitloom_wait simulates many cycles; what registers mean is known on the other side of it (rtl/driver.py).
//
// Memory: bursts are answered in the order in which they were asked for, reads a latency after their address came. Reads
// and writes share one data bus, which serves bursts of each in turn, for about 64 cycles, and carries a beat every so
// many cycles, a rational number. What was read is then on its way for the latency. Who cannot go on in the middle of a burst leaves the
// bus to the other.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "Vtop.h"
#include "verilated.h"

// Ports; Verilator writes 05F for an underscore after another.
#define MEMORY(name) top.memory___05F##name
#define CONTROL(name) top.control___05F##name

struct Timing {
    uint64_t read_latency, write_latency, latency_jitter;
    uint64_t bus_cycles, bus_beats;   // so many cycles for so many beats
    uint64_t stall_256ths;            // how often each channel hesitates for a cycle
    uint64_t seed;
    uint64_t fault_begin, fault_end;  // bytes that answer every access with an error
};

namespace {

constexpr uint64_t BUS_BYTES = sizeof(static_cast<Vtop*>(nullptr)->memory___05Frdata);
constexpr uint64_t BOUNDARY_BYTES = 4096;  // which no burst of AXI crosses
constexpr unsigned OKAY = 0, SLVERR = 2, INCREMENTING = 1;
constexpr uint64_t ANSWER_CYCLES = 1 << 16;  // after which the control port is taken for dead
constexpr uint64_t POLL_CYCLES = 32;
constexpr uint64_t TURN_CYCLES = 64;  // for about so long reads or writes have the bus while the others wait

struct Burst {
    uint64_t address, due;
    unsigned beats, id;
    bool failed;
};

template <unsigned DEPTH>
class Queue {
  public:
    bool empty() const { return first_ == next_; }
    bool full() const { return next_ - first_ == DEPTH; }
    Burst& front() { return bursts_[first_ % DEPTH]; }
    void push(const Burst& burst) { bursts_[next_++ % DEPTH] = burst; }
    void pop() { ++first_; }

  private:
    Burst bursts_[DEPTH];
    unsigned first_ = 0, next_ = 0;
};

class Random {  // xorshift64*
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 | 1) {}
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1d;
    }

  private:
    uint64_t state_;
};

class Memory {
  public:
    explicit Memory(const Timing& timing) : timing_(timing), random_(timing.seed) {}

    void attach(uint8_t* bytes, uint64_t size_bytes) { bytes_ = bytes, size_bytes_ = size_bytes; }
    const char* violation() const { return violation_; }

    // The inputs of the cycle that begins. `wvalid` is looked at as it was after the edge: it may still rise.
    void drive(Vtop& top) {
        ++now_;
        const uint64_t chance = timing_.stall_256ths ? random_.next() : 0;
        const auto hesitates = [&](unsigned channel) { return (chance >> 8 * channel & 255) < timing_.stall_256ths; };
        if (read_taken_) MEMORY(rvalid) = 0;
        if (answer_taken_) MEMORY(bvalid) = 0, answers_.pop();
        read_taken_ = answer_taken_ = false;
        MEMORY(arready) = !reads_.full() && !hesitates(0);
        MEMORY(awready) = !writes_.full() && !hesitates(1);
        if (!MEMORY(bvalid) && !answers_.empty() && answers_.front().due <= now_ && !hesitates(2)) {
            MEMORY(bid) = answers_.front().id;
            MEMORY(bresp) = answers_.front().failed ? SLVERR : OKAY;
            MEMORY(bvalid) = 1;
        }
        const bool reads = !reads_.empty() && !coming_.full();
        const bool writes = !writes_.empty() && MEMORY(wvalid) && !answers_.full() && !hesitates(4);
        use_bus(top, reads, writes);
        if (!MEMORY(rvalid) && !coming_.empty() && coming_.front().due <= now_ && !hesitates(3)) present_read(top);
    }

    // What was agreed upon in this cycle, whose outputs have settled; inputs stay as they are until after the edge.
    void sample(Vtop& top) {
        read_taken_ = MEMORY(rvalid) && MEMORY(rready);
        answer_taken_ = MEMORY(bvalid) && MEMORY(bready);
        if (MEMORY(wready) && MEMORY(wvalid)) take_write(top);
        if (MEMORY(arvalid) && MEMORY(arready)) {
            check(MEMORY(araddr), MEMORY(arlen), MEMORY(arsize), MEMORY(arburst));
            reads_.push({MEMORY(araddr), 0, MEMORY(arlen) + 1u, MEMORY(arid), false});
        }
        if (MEMORY(awvalid) && MEMORY(awready)) {
            check(MEMORY(awaddr), MEMORY(awlen), MEMORY(awsize), MEMORY(awburst));
            writes_.push({MEMORY(awaddr), 0, MEMORY(awlen) + 1u, MEMORY(awid), false});
        }
    }

  private:
    void use_bus(Vtop& top, bool reads, bool writes) {
        credit_ += timing_.bus_beats;
        MEMORY(wready) = 0;
        if (credit_ < timing_.bus_cycles) return;
        if (!reads && !writes) {
            credit_ = timing_.bus_cycles;  // an idle bus saves nothing up
            return;
        }
        credit_ -= timing_.bus_cycles;
        const bool write = writes && (write_turn_ || !reads);
        if (write != write_turn_) turn_began_ = now_;
        write_turn_ = write;
        const unsigned beats = write ? writes_.front().beats : reads_.front().beats;
        if (beats == 1 && now_ - turn_began_ >= TURN_CYCLES / 2) write_turn_ = !write, turn_began_ = now_;
        if (write) {
            MEMORY(wready) = 1;
        } else {
            Burst& burst = reads_.front();
            last_due_ = std::max(last_due_, due(timing_.read_latency - 1));
            coming_.push({burst.address, last_due_, burst.beats, burst.id, false});
            burst.address += BUS_BYTES;
            if (--burst.beats == 0) reads_.pop();
        }
    }

    void present_read(Vtop& top) {
        const Burst& beat = coming_.front();
        const bool failed = beat.address >= size_bytes_ || faulty(beat.address);
        if (!failed && size_bytes_ - beat.address >= BUS_BYTES) {
            std::memcpy(&MEMORY(rdata), bytes_ + beat.address, BUS_BYTES);
        } else {
            std::memset(&MEMORY(rdata), 0, BUS_BYTES);
            if (!failed) std::memcpy(&MEMORY(rdata), bytes_ + beat.address, size_bytes_ - beat.address);
        }
        MEMORY(rid) = beat.id;
        MEMORY(rresp) = failed ? SLVERR : OKAY;
        MEMORY(rlast) = beat.beats == 1;
        MEMORY(rvalid) = 1;
        coming_.pop();
    }

    void take_write(const Vtop& top) {
        Burst& burst = writes_.front();
        uint8_t data[BUS_BYTES], strobes[sizeof MEMORY(wstrb)];
        std::memcpy(data, &MEMORY(wdata), BUS_BYTES);
        std::memcpy(strobes, &MEMORY(wstrb), sizeof strobes);
        if (faulty(burst.address)) {
            burst.failed = true;
        } else {
            for (uint64_t i = 0; i < BUS_BYTES; ++i) {
                if (!(strobes[i / 8] >> i % 8 & 1)) continue;
                if (burst.address + i < size_bytes_) bytes_[burst.address + i] = data[i];
                else burst.failed = true;
            }
        }
        if (bool(MEMORY(wlast)) != (burst.beats == 1)) violation_ = "wlast is set in another beat than the last";
        burst.address += BUS_BYTES;
        if (--burst.beats == 0) {
            answers_.push({0, due(timing_.write_latency), 0, burst.id, burst.failed});
            writes_.pop();
        }
    }

    void check(uint64_t address, uint64_t length, uint64_t size, unsigned kind) {
        if (1u << size != BUS_BYTES) violation_ = "beats are not as wide as the bus";
        if (kind != INCREMENTING) violation_ = "a burst that does not increment";
        if (address % BUS_BYTES) violation_ = "a burst begins in the middle of a beat";
        if (address % BOUNDARY_BYTES + (length + 1) * BUS_BYTES > BOUNDARY_BYTES) violation_ = "a burst crosses 4 KiB";
    }

    bool faulty(uint64_t address) const {
        return address < timing_.fault_end && address + BUS_BYTES > timing_.fault_begin;
    }

    uint64_t due(uint64_t latency) {
        return now_ + latency + (timing_.latency_jitter ? random_.next() % (timing_.latency_jitter + 1) : 0);
    }

    Timing timing_;
    Random random_;
    uint8_t* bytes_ = nullptr;
    uint64_t size_bytes_ = 0, now_ = 0, credit_ = 0, last_due_ = 0, turn_began_ = 0;
    Queue<256> reads_, writes_, answers_;  // bursts
    Queue<1 << 14> coming_;                // beats that have had the bus and are on their way
    bool read_taken_ = false, answer_taken_ = false, write_turn_ = false;
    const char* violation_ = nullptr;
};

// The manager of the control port: one transaction at a time.
class Host {
  public:
    bool busy() const { return reading_ || writing_; }
    uint32_t value() const { return value_; }
    unsigned response() const { return response_; }

    void read(Vtop& top, uint32_t offset) {
        CONTROL(araddr) = offset;
        reading_ = read_address_ = true;
    }

    void write(Vtop& top, uint32_t offset, uint32_t value) {
        CONTROL(awaddr) = offset, CONTROL(wdata) = value, CONTROL(wstrb) = 15;
        writing_ = write_address_ = write_data_ = true;
    }

    void drive(Vtop& top) const {
        CONTROL(arvalid) = read_address_, CONTROL(awvalid) = write_address_, CONTROL(wvalid) = write_data_;
        CONTROL(rready) = reading_, CONTROL(bready) = writing_;
    }

    void sample(const Vtop& top) {
        if (!busy()) return;
        if (CONTROL(arready)) read_address_ = false;
        if (CONTROL(awready)) write_address_ = false;
        if (CONTROL(wready)) write_data_ = false;
        if (reading_ && CONTROL(rvalid)) reading_ = false, value_ = CONTROL(rdata), response_ = CONTROL(rresp);
        if (writing_ && CONTROL(bvalid)) writing_ = false, response_ = CONTROL(bresp);
    }

  private:
    bool reading_ = false, writing_ = false, read_address_ = false, write_address_ = false, write_data_ = false;
    uint32_t value_ = 0;
    unsigned response_ = OKAY;
};

}  // namespace

struct Device {
    VerilatedContext context;
    Vtop top{&context};
    Timing timing;
    Memory memory;
    Host host;
    uint64_t cycles = 0, next_poll = 0;
    bool polling = false;

    explicit Device(const Timing& timing) : timing(timing), memory(timing) {}

    void step() {
        memory.drive(top);
        host.drive(top);
        top.clk = 0;
        top.eval();
        memory.sample(top);
        host.sample(top);
        top.clk = 1;
        top.eval();
        ++cycles;
    }

    // The answer's code; -1 if there is none.
    int finish() {
        for (uint64_t waited = 0; host.busy(); ++waited) {
            if (waited == ANSWER_CYCLES) return -1;
            step();
        }
        return int(host.response());
    }
};

extern "C" {

Device* bitloom_create(const Timing* timing) { return new Device(*timing); }

void bitloom_destroy(Device* device) {
    device->top.final();
    delete device;
}

// Everything forgets what it was doing, the memory too.
void bitloom_reset(Device* device, uint64_t cycles) {
    device->memory = Memory(device->timing);
    device->host = Host();
    device->polling = false;
    Vtop& top = device->top;
    MEMORY(rvalid) = MEMORY(bvalid) = 0;
    top.rst = 1;
    for (uint64_t i = 0; i < cycles; ++i) device->step();
    device->memory = Memory(device->timing);
    top.rst = 0;
}

void bitloom_attach(Device* device, uint8_t* bytes, uint64_t size_bytes) { device->memory.attach(bytes, size_bytes); }

uint64_t bitloom_cycles(const Device* device) { return device->cycles; }

// What the unit did that AXI forbids, or nullptr.
const char* bitloom_violation(const Device* device) { return device->memory.violation(); }

int bitloom_read(Device* device, uint32_t offset, uint32_t* value) {
    if (device->finish() < 0) return -1;
    device->polling = false;
    device->host.read(device->top, offset);
    const int response = device->finish();
    *value = device->host.value();
    return response;
}

int bitloom_write(Device* device, uint32_t offset, uint32_t value) {
    if (device->finish() < 0) return -1;
    device->polling = false;
    device->host.write(device->top, offset, value);
    return device->finish();
}

// Simulate until a register has one of some bits (1), or for so many cycles (0), or until something is wrong (-1).
int bitloom_wait(Device* device, uint32_t offset, uint32_t mask, uint64_t cycles) {
    for (const uint64_t end = device->cycles + cycles; device->cycles < end; device->step()) {
        if (device->memory.violation()) return -1;
        if (device->host.busy()) continue;
        if (device->polling) {
            device->polling = false;
            if (device->host.response() != OKAY) return -1;
            if (device->host.value() & mask) return 1;
            device->next_poll = device->cycles + POLL_CYCLES;
        } else if (device->cycles >= device->next_poll) {
            device->polling = true;
            device->host.read(device->top, offset);
        }
    }
    return 0;
}

}
