/* Judges every loop that this processor can run, without Python: so also what another compiler or another processor
   makes of them. The judge of G.711 is the search for the segment, as in the Recommendation's tables; of base64, the
   alphabet. Exhaustive over values, all lengths up to some vectors, all alignments; memory around stays untouched.
   Prints the instruction sets that it judged; any difference ends it with status 1. */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 150, GUARD = 40 };

static void fail(const char* set, const char* what, long value) {
    fprintf(stderr, "%s: %s differs at %ld\n", set, what, value);
    exit(1);
}

static int segment_of(int magnitude, int first_end) {
    int segment = 0;
    for (int end = first_end; magnitude > end; end = 2 * end + 1)
        segment++;
    return segment;
}

static uint8_t judge_mulaw_encode(int sample) {
    int value = sample >> 2, mask = value < 0 ? 0x7F : 0xFF;
    value = (abs(value) > 8158 ? 8158 : abs(value)) + 33;
    int segment = segment_of(value, 0x3F);
    return (uint8_t)((segment << 4 | (value >> (segment + 1) & 15)) ^ mask);
}

static uint8_t judge_alaw_encode(int sample) {
    int value = sample >> 3, mask = value < 0 ? 0x55 : 0xD5;
    value = value < 0 ? -value - 1 : value;
    int segment = segment_of(value, 0x1F);
    return (uint8_t)((segment << 4 | (value >> (segment ? segment : 1) & 15)) ^ mask);
}

static int16_t judge_mulaw_decode(int code) {
    code = ~code & 0xFF;
    int magnitude = (((code & 15) << 3) + 0x84) * (1 << (code >> 4 & 7)) - 0x84;
    return (int16_t)(code & 0x80 ? -magnitude : magnitude);
}

static int16_t judge_alaw_decode(int code) {
    code ^= 0x55;
    int segment = code >> 4 & 7, step = (code & 15) << 4;
    int magnitude = segment ? (step + 0x108) * (1 << (segment - 1)) : step + 8;
    return (int16_t)(code & 0x80 ? magnitude : -magnitude);
}

static void judge_values(const fastcall_kernels* kernels) {
    static uint8_t codes[65536], expected_codes[65536];
    static int16_t samples[65536], out[65536];
    for (int i = 0; i < 65536; i++)
        samples[i] = (int16_t)(i - 32768);
    for (int law = 0; law < 2; law++) {
        (law ? kernels->alaw_encode : kernels->mulaw_encode)(samples, codes, 65536);
        for (int i = 0; i < 65536; i++)
            if (codes[i] != (expected_codes[i] = (law ? judge_alaw_encode : judge_mulaw_encode)(i - 32768)))
                fail(kernels->instructions, law ? "alaw_encode" : "mulaw_encode", i - 32768);
        /* Each code at each place of a vector: 257 and the widths have no common factor. */
        for (int i = 0; i < 65536; i++)
            codes[i] = (uint8_t)(i % 257);
        (law ? kernels->alaw_decode : kernels->mulaw_decode)(codes, out, 65536);
        for (int i = 0; i < 65536; i++)
            if (out[i] != (law ? judge_alaw_decode : judge_mulaw_decode)(codes[i]))
                fail(kernels->instructions, law ? "alaw_decode" : "mulaw_decode", codes[i]);
    }
}

/* `loop` at any length and alignment gives what it gives of one sample at a time, and writes nothing else. */
static void judge_lengths(const char* set, const char* what, fastcall_kernel loop, int in_bytes, int out_bytes) {
    static uint8_t in[2 * LONGEST + GUARD], out[2 * LONGEST + 2 * GUARD], one[2 * LONGEST + GUARD];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 151 + i / 7);
    for (int length = 0; length <= LONGEST; length++)
        for (int shift = 0; shift < 4; shift++) {
            memset(out, 0xA5, sizeof out);
            loop(in + shift, out + GUARD + shift, length);
            for (int i = 0; i < length; i++)
                loop(in + shift + i * in_bytes, one + i * out_bytes, 1);
            if (memcmp(out + GUARD + shift, one, (size_t)(length * out_bytes)))
                fail(set, what, length);
            for (size_t i = 0; i < sizeof out; i++)
                if ((i < (size_t)(GUARD + shift) || i >= (size_t)(GUARD + shift + length * out_bytes)) && out[i] != 0xA5)
                    fail(set, what, length);
        }
}

static void judge_base64(const fastcall_kernels* kernels) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static uint8_t text[4 * LONGEST], out[3 * LONGEST + GUARD];
    for (int groups = 0; groups <= LONGEST; groups++) {
        for (int i = 0; i < 4 * groups; i++)
            text[i] = (uint8_t)alphabet[(i * 37 + i / 64 + groups) % 64];
        memset(out, 0xA5, sizeof out);
        int wrong = kernels->base64(text, out, 3 * groups);
        for (int i = 0; i < groups; i++) {
            uint32_t bits = 0;
            for (int k = 0; k < 4; k++)
                bits = bits << 6 | (uint32_t)(strchr(alphabet, text[4 * i + k]) - alphabet);
            wrong |= out[3 * i] != bits >> 16 || out[3 * i + 1] != (bits >> 8 & 255) || out[3 * i + 2] != (bits & 255);
        }
        for (int i = 3 * groups; i < 3 * groups + GUARD; i++)
            wrong |= out[i] != 0xA5;
        if (wrong)
            fail(kernels->instructions, "base64", groups);
        for (int at = 0; groups < 40 && at < 4 * groups; at++)
            for (int byte = 0; byte < 256; byte++) {
                uint8_t kept = text[at];
                text[at] = (uint8_t)byte;
                if (kernels->base64(text, out, 3 * groups) != (byte == 0 || strchr(alphabet, byte) == NULL))
                    fail(kernels->instructions, "base64's verdict", byte);
                text[at] = kept;
            }
    }
}

/* Encoding gives what decoding takes, at any length, and writes nothing else. */
static void judge_base64_encode(void) {
    static uint8_t bytes[3 * LONGEST], text[4 * LONGEST + GUARD], back[3 * LONGEST];
    for (int i = 0; i < 3 * LONGEST; i++)
        bytes[i] = (uint8_t)(i * 151 + i / 7);
    for (int length = 0; length <= 3 * LONGEST; length++) {
        int whole = length / 3 * 3, chars = (length + 2) / 3 * 4;
        memset(text, 0xA5, sizeof text);
        fastcall_base64_encode(bytes, text, length);
        int wrong = fastcall_base64_plain(text, back, whole) || memcmp(back, bytes, (size_t)whole);
        if (length > whole) {
            uint8_t group[4] = {text[chars - 4], text[chars - 3], text[chars - 2], 'A'}, rest[3];
            int padding = 3 - (length - whole);
            wrong |= text[chars - 1] != '=' || (text[chars - 2] == '=') != (padding == 2);
            if (padding == 2)
                group[2] = 'A';
            wrong |= fastcall_base64_plain(group, rest, 3) || memcmp(rest, bytes + whole, (size_t)(length - whole));
            wrong |= rest[2] != 0 || (padding == 2 && rest[1] != 0);
        }
        for (int i = chars; i < chars + GUARD; i++)
            wrong |= text[i] != 0xA5;
        if (wrong)
            fail("plain", "base64_encode", length);
    }
}

int main(void) {
    judge_base64_encode();
    for (int index = 0; index < FASTCALL_KERNELS_COUNT; index++) {
        const fastcall_kernels* kernels = &FASTCALL_ALL_KERNELS[index];
        if (!fastcall_has(index))
            continue;
        judge_values(kernels);
        judge_lengths(kernels->instructions, "mulaw_decode", kernels->mulaw_decode, 1, 2);
        judge_lengths(kernels->instructions, "mulaw_encode", kernels->mulaw_encode, 2, 1);
        judge_lengths(kernels->instructions, "alaw_decode", kernels->alaw_decode, 1, 2);
        judge_lengths(kernels->instructions, "alaw_encode", kernels->alaw_encode, 2, 1);
        judge_base64(kernels);
        printf("%s\n", kernels->instructions);
    }
    return 0;
}
