// Every operation of tests/rtl/float_library.py on arrays of bit patterns.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "Vtop.h"

namespace {

void cycle(Vtop& top) {
    top.clk = 0;
    top.eval();
    top.clk = 1;
    top.eval();
}

}  // namespace

extern "C" void operate(size_t count, const uint32_t* a, const uint32_t* b, uint32_t* product, uint32_t* sum,
                        uint16_t* narrowed, uint32_t* integer_32, uint16_t* integer_16) {
    auto top = std::make_unique<Vtop>();
    for (size_t i = 0; i < count; ++i) {
        top->a = a[i];
        top->b = b[i];
        top->eval();
        product[i] = top->product;
        sum[i] = top->sum;
        narrowed[i] = top->narrowed;
        integer_32[i] = top->integer_32;
        integer_16[i] = top->integer_16;
    }
}

extern "C" void operate_halves(size_t count, const uint16_t* a, const uint16_t* b, uint32_t* widened, uint16_t* sum) {
    auto top = std::make_unique<Vtop>();
    for (size_t i = 0; i < count; ++i) {
        top->half_a = a[i];
        top->half_b = b[i];
        top->eval();
        widened[i] = top->widened;
        sum[i] = top->half_sum;
    }
}

// Two quotients by one divisor at a time; the cycles from the start of the last division to its end.
extern "C" int divide(size_t count, const uint32_t* dividends, const uint32_t* divisors, uint32_t* quotients) {
    auto top = std::make_unique<Vtop>();
    int cycles = 0;
    for (size_t i = 0; i < count; ++i) {
        top->a = dividends[2 * i];
        top->b = divisors[i];
        top->c = dividends[2 * i + 1];
        top->start = 1;
        cycle(*top);
        top->start = 0;
        // Operands are not looked at again.
        top->a = top->b = top->c = 0x7fc00000;
        for (cycles = 1; !top->done && cycles < 100; ++cycles) cycle(*top);
        quotients[2 * i] = top->quotient_0;
        quotients[2 * i + 1] = top->quotient_1;
    }
    return cycles;
}
