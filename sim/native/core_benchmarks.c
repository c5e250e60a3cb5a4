/* Micro-benchmarks of an x86-64 core: functions that do one thing so many times, and a clock around them.
 *
 * For an instruction there are two functions, found by their names (32 are the bytes of its vectors):
 *
 *     throughput_vpaddb_32(turns)   48 a turn, none of which waits for another
 *     latency_vpaddb_32(turns)      48 a turn, each of which waits for the one before
 *     pair_vpaddb_vpmullw_32(turns) 24 of each a turn, none of which waits: do they stand in each other's way?
 *
 * Instructions are written out in assembler: no compiler changes or removes them, and this file compiles whatever the
 * processor has. What it has not must not be called.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

#define VECTORS                                                                                                        \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",         \
        "xmm13", "xmm14", "xmm15"

/* In every register ones as floats: operands that no instruction finds exceptional. */
#define ONE_IN(register) "vbroadcastss %1, %%ymm" #register "\n"
#define ONES                                                                                                           \
    ONE_IN(0) ONE_IN(1) ONE_IN(2) ONE_IN(3) ONE_IN(4) ONE_IN(5) ONE_IN(6) ONE_IN(7) ONE_IN(8) ONE_IN(9) ONE_IN(10)     \
    ONE_IN(11) ONE_IN(12) ONE_IN(13) ONE_IN(14) ONE_IN(15)

static const float one = 1.0f;

#define REPEAT(body)                                                                                                   \
    __asm__ volatile(ONES ".p2align 6\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n"                                       \
                     : "+r"(turns)                                                                                     \
                     : "m"(one)                                                                                        \
                     : VECTORS, "cc")

#define FOUR(text) text text text text
#define TWELVE(text)                                                                                                   \
    text "0\n" text "1\n" text "2\n" text "3\n" text "4\n" text "5\n" text "6\n" text "7\n" text "8\n" text "9\n" text \
         "10\n" text "11\n"

/* `each` lacks the number of its target, one of twelve; `chained` is whole. */
#define BENCHMARK(name, bytes, each, chained)                                                                          \
    void throughput_##name##_##bytes(int64_t turns) { REPEAT(FOUR(TWELVE(each))); }                                    \
    void latency_##name##_##bytes(int64_t turns) { REPEAT(FOUR(FOUR(chained chained chained))); }

/* Registers r of so many bytes; sources are 15 and 14. The target comes last. */
#define TWO(name, bytes, r, text)                                                                                      \
    BENCHMARK(name, bytes, text " %%" r "14, %%" r "15, %%" r, text " %%" r "14, %%" r "0, %%" r "0\n")
/* The target is a source too. */
#define SUM(name, bytes, r, text)                                                                                      \
    BENCHMARK(name, bytes, text " %%" r "14, %%" r "15, %%" r, text " %%" r "14, %%" r "15, %%" r "0\n")
/* Of one source, in a register s; an immediate is a part of the text. */
#define ONE(name, bytes, s, r, text) BENCHMARK(name, bytes, text " %%" s "15, %%" r, text " %%" s "0, %%" r "0\n")

#define TWO_256(name, text) TWO(name, 32, "ymm", text)
#define TWO_BOTH(name, text) TWO(name, 32, "ymm", text) TWO(name, 64, "zmm", text)
#define SUM_256(name, text) SUM(name, 32, "ymm", text)
#define SUM_BOTH(name, text) SUM(name, 32, "ymm", text) SUM(name, 64, "zmm", text)
#define ONE_256(name, text) ONE(name, 32, "ymm", "ymm", text)
#define ONE_BOTH(name, text) ONE(name, 32, "ymm", "ymm", text) ONE(name, 64, "zmm", "zmm", text)
#define HALF_BOTH(name, text) ONE(name, 32, "xmm", "ymm", text) ONE(name, 64, "ymm", "zmm", text)
#define XMM_BOTH(name, text) ONE(name, 32, "xmm", "ymm", text) ONE(name, 64, "xmm", "zmm", text)

/* bits */
TWO(vpand, 32, "ymm", "vpand") TWO(vpand, 64, "zmm", "vpandd")
TWO(vpor, 32, "ymm", "vpor") TWO(vpor, 64, "zmm", "vpord")
TWO(vpandn, 32, "ymm", "vpandn") TWO(vpandn, 64, "zmm", "vpandnd")
TWO(vpxor, 32, "ymm", "vpxor") TWO(vpxor, 64, "zmm", "vpxord")
SUM_BOTH(vpternlogd, "vpternlogd $0xca,")
ONE_BOTH(vpsrlw, "vpsrlw $2,") ONE_BOTH(vpsllw, "vpsllw $2,") ONE_BOTH(vpsraw, "vpsraw $2,")
ONE_BOTH(vpsrld, "vpsrld $2,") ONE_BOTH(vpslld, "vpslld $2,") ONE_BOTH(vpsrad, "vpsrad $2,")
ONE_BOTH(vpsrlq, "vpsrlq $2,") ONE_BOTH(vpsllq, "vpsllq $2,")
TWO_BOTH(vpsrlvd, "vpsrlvd") TWO_BOTH(vpsllvd, "vpsllvd") TWO_BOTH(vpmultishiftqb, "vpmultishiftqb")

/* additions and comparisons */
TWO_BOTH(vpaddb, "vpaddb") TWO_BOTH(vpaddw, "vpaddw") TWO_BOTH(vpaddd, "vpaddd") TWO_BOTH(vpaddq, "vpaddq")
TWO_BOTH(vpsubb, "vpsubb") TWO_BOTH(vpsubw, "vpsubw") TWO_BOTH(vpsubd, "vpsubd") TWO_BOTH(vpsubq, "vpsubq")
TWO_BOTH(vpaddsw, "vpaddsw") TWO_BOTH(vpsubusb, "vpsubusb") TWO_BOTH(vpavgb, "vpavgb")
TWO_BOTH(vpmaxsb, "vpmaxsb") TWO_BOTH(vpmaxsw, "vpmaxsw") TWO_BOTH(vpmaxsd, "vpmaxsd")
TWO_BOTH(vpminsb, "vpminsb") TWO_BOTH(vpminsw, "vpminsw") TWO_BOTH(vpminsd, "vpminsd")
TWO_BOTH(vpmaxub, "vpmaxub") TWO_BOTH(vpminub, "vpminub")
ONE_BOTH(vpabsb, "vpabsb") ONE_BOTH(vpabsw, "vpabsw") ONE_BOTH(vpabsd, "vpabsd")
TWO_256(vpsignb, "vpsignb") TWO_256(vpsignw, "vpsignw") TWO_256(vpsignd, "vpsignd")
TWO_256(vpcmpgtb, "vpcmpgtb") TWO_256(vpcmpgtw, "vpcmpgtw") TWO_256(vpcmpgtd, "vpcmpgtd")
TWO_256(vpcmpeqb, "vpcmpeqb") TWO_256(vpcmpeqw, "vpcmpeqw") TWO_256(vpcmpeqd, "vpcmpeqd")
TWO_256(vphaddw, "vphaddw") TWO_256(vphaddd, "vphaddd")

/* products */
TWO_BOTH(vpmaddubsw, "vpmaddubsw") TWO_BOTH(vpmaddwd, "vpmaddwd")
TWO_BOTH(vpmullw, "vpmullw") TWO_BOTH(vpmulhw, "vpmulhw") TWO_BOTH(vpmulhrsw, "vpmulhrsw")
TWO_BOTH(vpmulld, "vpmulld") TWO_BOTH(vpmuludq, "vpmuludq") TWO_BOTH(vpsadbw, "vpsadbw")
SUM_BOTH(vpdpbusd, "vpdpbusd") SUM_BOTH(vpdpwssd, "vpdpwssd")

/* shuffles */
TWO_BOTH(vpshufb, "vpshufb") ONE_BOTH(vpshufd, "vpshufd $0x1b,") ONE_BOTH(vpermq, "vpermq $0x1b,")
TWO_BOTH(vpermb, "vpermb") TWO_BOTH(vpermw, "vpermw") TWO_BOTH(vpermd, "vpermd") TWO_BOTH(vpermps, "vpermps")
SUM_BOTH(vpermi2b, "vpermi2b")
SUM_BOTH(vpermt2b, "vpermt2b") SUM_BOTH(vpermt2w, "vpermt2w") SUM_BOTH(vpermt2d, "vpermt2d")
ONE_BOTH(vpsrldq, "vpsrldq $4,") ONE_BOTH(vpslldq, "vpslldq $4,")
TWO_BOTH(vpunpcklbw, "vpunpcklbw") TWO_BOTH(vpunpckhbw, "vpunpckhbw")
TWO_BOTH(vpunpcklwd, "vpunpcklwd") TWO_BOTH(vpunpckhwd, "vpunpckhwd")
TWO_BOTH(vpunpckldq, "vpunpckldq") TWO_BOTH(vpunpckhdq, "vpunpckhdq")
TWO_BOTH(vpunpcklqdq, "vpunpcklqdq") TWO_BOTH(vpunpckhqdq, "vpunpckhqdq")
TWO_BOTH(vpacksswb, "vpacksswb") TWO_BOTH(vpackuswb, "vpackuswb") TWO_BOTH(vpackssdw, "vpackssdw")
TWO_BOTH(vpackusdw, "vpackusdw") TWO_BOTH(vpalignr, "vpalignr $4,") TWO_256(vperm2i128, "vperm2i128 $0x21,")
TWO_256(vpblendd, "vpblendd $0x55,") TWO_256(vpblendw, "vpblendw $0x55,")
BENCHMARK(vpblendvb, 32, "vpblendvb %%ymm13, %%ymm14, %%ymm15, %%ymm", "vpblendvb %%ymm13, %%ymm14, %%ymm0, %%ymm0\n")

/* between widths */
HALF_BOTH(vpmovsxbw, "vpmovsxbw") HALF_BOTH(vpmovsxwd, "vpmovsxwd") HALF_BOTH(vpmovsxdq, "vpmovsxdq")
HALF_BOTH(vpmovzxbw, "vpmovzxbw") HALF_BOTH(vpmovzxwd, "vpmovzxwd") HALF_BOTH(vpmovzxdq, "vpmovzxdq")
XMM_BOTH(vpmovsxbd, "vpmovsxbd") XMM_BOTH(vpmovzxbd, "vpmovzxbd")
XMM_BOTH(vpbroadcastb, "vpbroadcastb") XMM_BOTH(vpbroadcastw, "vpbroadcastw") XMM_BOTH(vpbroadcastd, "vpbroadcastd")
XMM_BOTH(vpbroadcastq, "vpbroadcastq") XMM_BOTH(vbroadcastss, "vbroadcastss")
ONE(vextracti128, 32, "ymm", "xmm", "vextracti128 $1,") ONE(vextractf128, 32, "ymm", "xmm", "vextractf128 $1,")
ONE(vextracti64x4, 64, "zmm", "ymm", "vextracti64x4 $1,") ONE(vextracti32x4, 64, "zmm", "xmm", "vextracti32x4 $2,")
BENCHMARK(vinserti128, 32, "vinserti128 $1, %%xmm14, %%ymm15, %%ymm", "vinserti128 $1, %%xmm14, %%ymm0, %%ymm0\n")
BENCHMARK(vinserti64x4, 64, "vinserti64x4 $1, %%ymm14, %%zmm15, %%zmm", "vinserti64x4 $1, %%ymm14, %%zmm0, %%zmm0\n")

/* floats */
TWO_BOTH(vaddps, "vaddps") TWO_BOTH(vsubps, "vsubps") TWO_BOTH(vmulps, "vmulps") TWO_BOTH(vdivps, "vdivps")
TWO_BOTH(vmaxps, "vmaxps") TWO_BOTH(vminps, "vminps") SUM_BOTH(vfmadd231ps, "vfmadd231ps")
TWO_256(vandps, "vandps") TWO_256(vandnps, "vandnps") TWO_256(vorps, "vorps") TWO_256(vxorps, "vxorps")
ONE_BOTH(vcvtdq2ps, "vcvtdq2ps") ONE_BOTH(vcvtps2dq, "vcvtps2dq") ONE_BOTH(vcvttps2dq, "vcvttps2dq")
ONE_256(vroundps, "vroundps $0,") HALF_BOTH(vcvtph2ps, "vcvtph2ps")
ONE(vcvtps2ph, 32, "ymm", "xmm", "vcvtps2ph $0,") ONE(vcvtps2ph, 64, "zmm", "ymm", "vcvtps2ph $0,")
TWO_256(vhaddps, "vhaddps") TWO_BOTH(vshufps, "vshufps $0x1b,") ONE_BOTH(vmovshdup, "vmovshdup")
TWO(vmovhlps, 16, "xmm", "vmovhlps") TWO(vunpckhpd, 16, "xmm", "vunpckhpd")
TWO(vsubss, 16, "xmm", "vsubss") TWO(vmaxss, 16, "xmm", "vmaxss") TWO(vdivss, 16, "xmm", "vdivss")
TWO(vcmpltss, 16, "xmm", "vcmpltss") ONE_BOTH(vpermilps, "vpermilps $0x1b,") ONE_BOTH(vrndscaleps, "vrndscaleps $0,")
SUM_BOTH(vfmadd132ps, "vfmadd132ps") SUM_BOTH(vfmadd213ps, "vfmadd213ps")
SUM_BOTH(vfmsub231ps, "vfmsub231ps") SUM_BOTH(vfnmadd231ps, "vfnmadd231ps")
ONE(vcvtneps2bf16, 32, "ymm", "xmm", "vcvtneps2bf16")
ONE(vcvtneps2bf16, 64, "zmm", "ymm", "vcvtneps2bf16") ONE(vextractf64x4, 64, "zmm", "ymm", "vextractf64x4 $1,")
BENCHMARK(vblendvps, 32, "vblendvps %%ymm13, %%ymm14, %%ymm15, %%ymm", "vblendvps %%ymm13, %%ymm14, %%ymm0, %%ymm0\n")
TWO(vaddss, 16, "xmm", "vaddss") TWO(vmulss, 16, "xmm", "vmulss") SUM(vfmadd231ss, 16, "xmm", "vfmadd231ss")
SUM_BOTH(vdpbf16ps, "vdpbf16ps")

/* Instructions of the kinds for which cores have pipes, two by two. */
#define SIX(a, b) a "0\n" b "6\n" a "1\n" b "7\n" a "2\n" b "8\n" a "3\n" b "9\n" a "4\n" b "10\n" a "5\n" b "11\n"
#define PAIR_OF(a, b, text_a, text_b)                                                                                  \
    void pair_##a##_##b##_32(int64_t turns) { REPEAT(FOUR(SIX(text_a, text_b))); }
#define PAIR(a, b) PAIR_OF(a, b, #a " %%ymm14, %%ymm15, %%ymm", #b " %%ymm14, %%ymm15, %%ymm")
#define PAIR_WITH_SHIFT(a) PAIR_OF(a, vpsrlw, #a " %%ymm14, %%ymm15, %%ymm", "vpsrlw $2, %%ymm15, %%ymm")

PAIR_WITH_SHIFT(vpaddb) PAIR_WITH_SHIFT(vpmaddubsw) PAIR_WITH_SHIFT(vpshufb) PAIR_WITH_SHIFT(vpunpcklbw)
PAIR_WITH_SHIFT(vaddps) PAIR_WITH_SHIFT(vmulps)
PAIR(vpaddb, vpmaddubsw) PAIR(vpaddb, vpshufb) PAIR(vpaddb, vpunpcklbw) PAIR(vpaddb, vaddps) PAIR(vpaddb, vmulps)
PAIR(vpmaddubsw, vpshufb) PAIR(vpmaddubsw, vpunpcklbw) PAIR(vpmaddubsw, vaddps) PAIR(vpmaddubsw, vmulps)
PAIR(vpshufb, vpunpcklbw) PAIR(vpshufb, vaddps) PAIR(vpshufb, vmulps)
PAIR(vpunpcklbw, vaddps) PAIR(vpunpcklbw, vmulps) PAIR(vaddps, vmulps)

/* Additions of integers, in eight chains and in one: a cycle each, which gives the clock. */
#define EIGHT_ADDS                                                                                                     \
    "add %2, %%r8\nadd %2, %%r9\nadd %2, %%r10\nadd %2, %%r11\nadd %2, %%r12\nadd %2, %%r13\nadd %2, %%r14\n"          \
    "add %2, %%r15\n"

void throughput_integer_8(int64_t turns)
{
    __asm__ volatile(".p2align 6\n1:\n" EIGHT_ADDS EIGHT_ADDS EIGHT_ADDS EIGHT_ADDS EIGHT_ADDS EIGHT_ADDS
                     "dec %0\njnz 1b\n"
                     : "=r"(turns)
                     : "0"(turns), "r"((int64_t)1)
                     : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc");
}

void latency_integer_8(int64_t turns)
{
    __asm__ volatile(".p2align 6\n1:\n" FOUR(FOUR("add %2, %%r8\nadd %2, %%r8\nadd %2, %%r8\n")) "dec %0\njnz 1b\n"
                     : "=r"(turns)
                     : "0"(turns), "r"((int64_t)1)
                     : "r8", "cc");
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

double bitloom_now_ns(void) { return now_ns(); }

/* Nanoseconds of the fastest of so many calls. */
double bitloom_least_ns(void (*benchmark)(int64_t), int64_t turns, int64_t samples)
{
    double least = 1e300;
    for (int64_t sample = 0; sample < samples; sample++) {
        const double started = now_ns();
        benchmark(turns);
        const double taken = now_ns() - started;
        least = taken < least ? taken : least;
    }
    return least;
}

/* The same of as many calls as there is time for between two moments; several threads have the same moments. */
double bitloom_least_ns_between(void (*benchmark)(int64_t), int64_t turns, double from_ns, double to_ns)
{
    while (now_ns() < from_ns)
        ;
    double least = 1e300;
    while (now_ns() < to_ns) {
        const double taken = bitloom_least_ns(benchmark, turns, 1);
        least = taken < least ? taken : least;
    }
    return least;
}

/* 48 loads of 32 bytes a turn, 64 bytes apart, from an address on. */
void bitloom_loads(const void *address, int64_t turns)
{
#define LOADS                                                                                                          \
    "vmovdqu (%1), %%ymm0\nvmovdqu 64(%1), %%ymm1\nvmovdqu 128(%1), %%ymm2\nvmovdqu 192(%1), %%ymm3\n"                 \
    "vmovdqu 256(%1), %%ymm4\nvmovdqu 320(%1), %%ymm5\nvmovdqu 384(%1), %%ymm6\nvmovdqu 448(%1), %%ymm7\n"
    __asm__ volatile(".p2align 6\n1:\n" LOADS LOADS LOADS LOADS LOADS LOADS "dec %0\njnz 1b\nvzeroupper\n"
                     : "+r"(turns)
                     : "r"(address)
                     : VECTORS, "cc", "memory");
}

double bitloom_least_ns_of_loads(const void *address, int64_t turns, int64_t samples)
{
    double least = 1e300;
    for (int64_t sample = 0; sample < samples; sample++) {
        const double started = now_ns();
        bitloom_loads(address, turns);
        const double taken = now_ns() - started;
        least = taken < least ? taken : least;
    }
    return least;
}

/* Reads from first to last byte; sizes are multiples of 512. */
static void read_all(const char *address, int64_t size_bytes)
{
    const char *end = address + size_bytes;
    __asm__ volatile(".p2align 6\n1:\n"
                     "vmovdqa (%0), %%ymm0\nvmovdqa 32(%0), %%ymm1\nvmovdqa 64(%0), %%ymm2\nvmovdqa 96(%0), %%ymm3\n"
                     "vmovdqa 128(%0), %%ymm4\nvmovdqa 160(%0), %%ymm5\nvmovdqa 192(%0), %%ymm6\n"
                     "vmovdqa 224(%0), %%ymm7\nvmovdqa 256(%0), %%ymm8\nvmovdqa 288(%0), %%ymm9\n"
                     "vmovdqa 320(%0), %%ymm10\nvmovdqa 352(%0), %%ymm11\nvmovdqa 384(%0), %%ymm12\n"
                     "vmovdqa 416(%0), %%ymm13\nvmovdqa 448(%0), %%ymm14\nvmovdqa 480(%0), %%ymm15\n"
                     "add $512, %0\ncmp %1, %0\njb 1b\nvzeroupper\n"
                     : "+r"(address)
                     : "r"(end)
                     : VECTORS, "cc", "memory");
}

/* Bytes that one thread reads a nanosecond between two moments, again and again from first to last. */
double bitloom_bytes_per_ns(const char *buffer, int64_t size_bytes, int64_t passes, double from_ns, double to_ns)
{
    while (now_ns() < from_ns)
        ;
    const double started = now_ns();
    double now = started;
    int64_t done = 0;
    for (; now < to_ns; now = now_ns())
        for (int64_t pass = 0; pass < passes; pass++, done += size_bytes)
            read_all(buffer, size_bytes);
    return (double)done / (now - started);
}

/* Nanoseconds of a load whose address is what the load before it has read; 16 a turn. */
double bitloom_chase_ns(const void *first, int64_t turns, int64_t samples)
{
    double least = 1e300;
    for (int64_t sample = 0; sample < samples; sample++) {
        int64_t left = turns;
        const double started = now_ns();
        __asm__ volatile(".p2align 6\n1:\n" FOUR(FOUR("mov (%1), %1\n")) "dec %0\njnz 1b\n"
                         : "+r"(left), "+r"(first)
                         :
                         : "cc", "memory");
        const double taken = (now_ns() - started) / (16.0 * (double)turns);
        least = taken < least ? taken : least;
    }
    return least;
}
