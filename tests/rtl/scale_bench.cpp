// A scale engine between scratchpads, in the cycles that tests/rtl/scale_library.py asks for.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>

#include "Vtop.h"

struct Run {
    const uint32_t* commands;
    size_t count, words;
    uint8_t *accumulators, *scales;
    size_t accumulator_bytes, scale_bytes, lanes;
    // Cycles of acceptance, of `done` and of the first error of each command; of an error also the code.
    int64_t *accepted, *done, *failed;
    uint8_t* errors;
    uint64_t seed;
    double idle;  // probability that no command is offered in a cycle
    int64_t reset_at, limit;
};

extern "C" int64_t run(const Run* given) {
    const Run& r = *given;
    auto top = std::make_unique<Vtop>();
    std::mt19937_64 random(r.seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    size_t accepted = 0, done = 0;
    int64_t violations = 0;
    bool offered = false;
    const size_t line = 4 * r.lanes;
    auto read = [&](bool enable, size_t address, const uint8_t* memory, size_t size, size_t bytes, void* data) {
        if (!enable) return;
        if (address >= size) ++violations;
        // What lies beyond the end is anything.
        for (size_t i = 0; i < bytes; ++i)
            static_cast<uint8_t*>(data)[i] = address + i < size ? memory[address + i] : uint8_t(random());
    };
    for (int64_t cycle = 0; done < r.count && cycle < r.limit; ++cycle) {
        top->rst = cycle < 2 || cycle == r.reset_at;
        if (top->rst) accepted = done = 0, offered = false;
        offered = !top->rst && accepted < r.count && (offered || uniform(random) >= r.idle);
        top->command___05Fvalid = offered;
        if (offered) std::memcpy(&top->command___05Fpayload, r.commands + accepted * r.words, 4 * r.words);
        top->clk = 0;
        top->eval();
        if (!top->rst) {
            const bool accepts = offered && top->command___05Fready;
            if (top->done) r.done[done++] = cycle;
            if (top->error) {
                if (!accepted || r.errors[accepted - 1]) ++violations;
                else r.failed[accepted - 1] = cycle, r.errors[accepted - 1] = top->error;
            }
            if (accepts) r.accepted[accepted++] = cycle, offered = false;
        }
        const bool writes = top->results___05Fenable && !top->rst, before = random() & 1;
        const size_t written = 4 * size_t(top->results___05Findex);
        auto write = [&] {
            const auto* data = reinterpret_cast<const uint8_t*>(&top->results___05Fdata);
            for (size_t i = 0; i < r.lanes; ++i)
                if (writes && (top->results___05Fmask >> i & 1)) {
                    if (written + 4 * i >= r.accumulator_bytes) ++violations;
                    else std::memcpy(r.accumulators + written + 4 * i, data + 4 * i, 4);
                }
        };
        const uint32_t source = top->accumulators___05Findex, present = top->present___05Findex;
        const uint32_t columns = top->column_scales___05Faddress, row = top->row_scale___05Faddress;
        const bool reads = top->accumulators___05Fenable, adds = top->present___05Fenable;
        const bool reads_columns = top->column_scales___05Fenable, reads_row = top->row_scale___05Fenable;
        // A read in the cycle of a write gives either.
        if (before) write();
        const size_t bytes = r.accumulator_bytes;
        uint8_t lanes[2][1024], scale[1024], factor[4];
        read(reads, 4 * size_t(source), r.accumulators, bytes, line, lanes[0]);
        read(adds, 4 * size_t(present), r.accumulators, bytes, line, lanes[1]);
        read(reads_columns, columns, r.scales, r.scale_bytes, line, scale);
        read(reads_row, row, r.scales, r.scale_bytes, 4, factor);
        if (!before) write();
        top->clk = 1;
        top->eval();
        if (reads) std::memcpy(&top->accumulators___05Fdata, lanes[0], line);
        if (adds) std::memcpy(&top->present___05Fdata, lanes[1], line);
        if (reads_columns) std::memcpy(&top->column_scales___05Fdata, scale, line);
        if (reads_row) std::memcpy(&top->row_scale___05Fdata, factor, 4);
    }
    return done < r.count ? -1 : violations;
}
