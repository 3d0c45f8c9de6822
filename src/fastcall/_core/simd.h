/* The vector instructions that functions may use, and the C types of the loops. Included by the other headers.

   Every loop exists in portable C, and in versions for the instruction sets below. Nothing is compiled for the building
   machine's processor: a function that needs more than the baseline has a target attribute, and kernels.h chooses when
   the module is loaded. */
#ifndef FASTCALL_SIMD_H
#define FASTCALL_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fastcall supports little-endian machines only: LINEAR16 on the wire is little-endian"
#endif

#if defined(__x86_64__)
#define FASTCALL_X86 1
#include <immintrin.h>
#define FASTCALL_SSSE3 __attribute__((target("ssse3")))
#define FASTCALL_AVX2 __attribute__((target("avx2")))
#elif defined(__aarch64__)
#define FASTCALL_NEON 1 /* part of the 64-bit Arm baseline */
#include <arm_neon.h>
#endif

/* A 16-bit sample at any address: slices of bytes may begin at odd addresses. */
typedef int16_t fastcall_sample __attribute__((aligned(1), may_alias));

/* `samples` samples from `source` to `target`, which do not overlap. */
typedef void (*fastcall_kernel)(const void* source, void* target, ptrdiff_t samples);

/* The whole groups of four base64 characters at `text` into exactly `bytes` bytes, a multiple of three, at `target`;
   returns 0 if all characters are in the alphabet of RFC 4648 section 4. */
typedef int (*fastcall_base64_kernel)(const uint8_t* text, uint8_t* target, ptrdiff_t bytes);

#endif
