/* table.h - the table of an instruction set but its name: what decode.h, floats.h, packed.h, columns.h and the
 * including file define. */
#define MATMUL_PACKED(P) [P] = matmul_##P,
#define MATMUL_COLUMNS(P) [P] = columns_##P,
#define WIDEN(P) [P] = widen_##P,
#define WIDEN_BLOCK(P) [P] = widen_block_##P,
#define MATMUL_WIDE(P) [P] = wide_##P,
#define KERNELS                                                                                    \
    .decode = {[RW_F32] = rw_decode_f32,   [RW_F16] = decode_f16,   [RW_BF16] = decode_bf16,       \
               [RW_F64] = rw_decode_f64,   [RW_Q4_0] = decode_q4_0, [RW_Q4_1] = decode_q4_1,       \
               [RW_Q5_0] = decode_q5_0,    [RW_Q5_1] = decode_q5_1, [RW_Q8_0] = decode_q8_0,       \
               [RW_Q2_K] = decode_q2_k,    [RW_Q3_K] = decode_q3_k, [RW_Q4_K] = decode_q4_k,       \
               [RW_Q5_K] = decode_q5_k,    [RW_Q6_K] = decode_q6_k, [RW_IQ4_NL] = decode_iq4_nl,   \
               [RW_IQ4_XS] = decode_iq4_xs},                                                       \
    .matmul_f32 = matmul_f32, .matmul_f16 = matmul_f16, .matmul_bf16 = matmul_bf16,                \
    .quantize = quantize,                                                                          \
    .matmul_packed = {RW_PACKS(MATMUL_PACKED)}, .matmul_columns = {RW_PACKS(MATMUL_COLUMNS)},      \
    .widen = {RW_PACKS(WIDEN)}, .widen_block = {RW_PACKS(WIDEN_BLOCK)},                            \
    .matmul_wide = {RW_PACKS(MATMUL_WIDE)},                                                        \
    .layer_norm = layer_norm, .mix_current = mix_current, .mix_previous = mix_previous,            \
    .relu2 = relu2, .sigmoid = sigmoid, .tanh = hyperbolic_tangent, .silu = silu,                  \
    .all_finite = all_finite, .wkv4 = wkv4, .wkv6 = wkv6, .decay6 = decay6,          \
    .prepare7 = prepare7, .finish7 = finish7, .wkv7 = wkv7
