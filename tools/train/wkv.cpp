// wkv.cpp - the recurrence of RWKV-7 and its gradient for training on CPUs, as operators of PyTorch.
//
// Per head, with S of (value channel i, key channel j) and zero at the start of each row:
//
//     s = S z;   S = S diag(w) + s bᵀ + v kᵀ;   y = S r
//
// All inputs and outputs are float32 (batch, time, head, N). S is kept with the value channel
// contiguous: every step is then a loop over keys of a few vectors and scalars. The forward pass
// stores S every CHUNK tokens; the backward pass computes the states between again, chunk by chunk
// from the end. The vectors are GCC's own: they become AVX-512, AVX2 or NEON.
#include <torch/extension.h>

#include <vector>

namespace {

constexpr int N = 64;      // head size
constexpr int LANES = 16;  // floats of a vector
constexpr int V = N / LANES;
constexpr int CHUNK = 16;  // tokens between stored states

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4)));

struct row {  // N floats
    vec x[V];
};

inline row load(const float *p) {
    row r;
    for (int c = 0; c < V; c++) r.x[c] = *reinterpret_cast<const vec *>(p + c * LANES);
    return r;
}

inline void store(float *p, const row &r) {
    for (int c = 0; c < V; c++) *reinterpret_cast<vec *>(p + c * LANES) = r.x[c];
}

inline row zero() {
    row r;
    for (int c = 0; c < V; c++) r.x[c] = vec{};
    return r;
}

// The sums of a·b over the lanes stay one vector; many of them are reduced together.
inline vec dot(const row &a, const row &b) {
    vec t = a.x[0] * b.x[0];
    for (int c = 1; c < V; c++) t += a.x[c] * b.x[c];
    return t;
}

inline float sum(vec v) {
    typedef float half __attribute__((vector_size(32)));
    typedef float quarter __attribute__((vector_size(16)));
    half h = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    quarter q = __builtin_shufflevector(h, h, 0, 1, 2, 3) +
                __builtin_shufflevector(h, h, 4, 5, 6, 7);
    return (q[0] + q[1]) + (q[2] + q[3]);
}

// One token: S -> S', y. S and S' may be the same memory.
inline void step(const float *S, float *S_new, const float *r, const float *w, const float *k,
                 const row &v, const float *z, const float *b, row *s_out, row *y_out) {
    row s = zero(), y = zero();
    for (int j = 0; j < N; j++) {
        row x = load(S + j * N);
        for (int c = 0; c < V; c++) s.x[c] += x.x[c] * z[j];
    }
    for (int j = 0; j < N; j++) {
        row x = load(S + j * N);
        for (int c = 0; c < V; c++) {
            x.x[c] = x.x[c] * w[j] + s.x[c] * b[j] + v.x[c] * k[j];
            y.x[c] += x.x[c] * r[j];
        }
        store(S_new + j * N, x);
    }
    *s_out = s;
    *y_out = y;
}

struct sizes {
    int64_t B, T, H;
    int64_t chunks() const { return (T + CHUNK - 1) / CHUNK; }
    size_t at(int64_t b, int64_t t, int64_t h) const { return ((b * T + t) * H + h) * N; }
};

sizes check(const torch::Tensor &r) {
    TORCH_CHECK(r.dim() == 4 && r.size(3) == N, "wkv: expected (batch, time, head, ", N, ")");
    return {r.size(0), r.size(1), r.size(2)};
}

const float *data(const torch::Tensor &t) {
    TORCH_CHECK(t.is_contiguous() && t.scalar_type() == torch::kFloat, "wkv: contiguous float32");
    return t.data_ptr<float>();
}

std::vector<torch::Tensor> forward(torch::Tensor r, torch::Tensor w, torch::Tensor k,
                                   torch::Tensor v, torch::Tensor z, torch::Tensor b) {
    sizes n = check(r);
    auto y = torch::empty_like(r);
    auto states = torch::empty({n.B, n.H, n.chunks(), N, N}, r.options());
    const float *pr = data(r), *pw = data(w), *pk = data(k), *pv = data(v), *pz = data(z),
                *pb = data(b);
    float *py = y.data_ptr<float>(), *ps = states.data_ptr<float>();
#pragma omp parallel for schedule(dynamic)
    for (int64_t bh = 0; bh < n.B * n.H; bh++) {
        alignas(64) float S[N * N] = {};
        row s, out;
        for (int64_t t = 0; t < n.T; t++) {
            size_t i = n.at(bh / n.H, t, bh % n.H);
            if (t % CHUNK == 0) {
                memcpy(ps + (bh * n.chunks() + t / CHUNK) * N * N, S, sizeof S);
            }
            step(S, S, pr + i, pw + i, pk + i, load(pv + i), pz + i, pb + i, &s, &out);
            store(py + i, out);
        }
    }
    return {y, states};
}

std::vector<torch::Tensor> backward(torch::Tensor dy, torch::Tensor states, torch::Tensor r,
                                    torch::Tensor w, torch::Tensor k, torch::Tensor v,
                                    torch::Tensor z, torch::Tensor b) {
    sizes n = check(r);
    std::vector<torch::Tensor> grads;
    for (int i = 0; i < 6; i++) grads.push_back(torch::empty_like(r));
    const float *pr = data(r), *pw = data(w), *pk = data(k), *pv = data(v), *pz = data(z),
                *pb = data(b), *pdy = data(dy), *ps = data(states);
    float *g[6];
    for (int i = 0; i < 6; i++) g[i] = grads[i].data_ptr<float>();
#pragma omp parallel
    {
        std::vector<float> all((CHUNK + 1) * N * N), dS(N * N);
        row s[CHUNK], unused;
#pragma omp for schedule(dynamic)
        for (int64_t bh = 0; bh < n.B * n.H; bh++) {
            std::fill(dS.begin(), dS.end(), 0.f);
            for (int64_t c = n.chunks() - 1; c >= 0; c--) {
                int64_t t0 = c * CHUNK, t1 = std::min<int64_t>(n.T, t0 + CHUNK);
                memcpy(all.data(), ps + (bh * n.chunks() + c) * N * N, N * N * sizeof(float));
                for (int64_t t = t0; t < t1; t++) {
                    size_t i = n.at(bh / n.H, t, bh % n.H);
                    step(all.data() + (t - t0) * N * N, all.data() + (t - t0 + 1) * N * N, pr + i,
                         pw + i, pk + i, load(pv + i), pz + i, pb + i, &s[t - t0], &unused);
                }
                for (int64_t t = t1 - 1; t >= t0; t--) {
                    size_t i = n.at(bh / n.H, t, bh % n.H);
                    const float *old = all.data() + (t - t0) * N * N, *now = old + N * N;
                    row vt = load(pv + i), d = load(pdy + i), dv = zero(), ds = zero();
                    const row &st = s[t - t0];
                    for (int j = 0; j < N; j++) {
                        row x = load(dS.data() + j * N);
                        for (int q = 0; q < V; q++) {
                            x.x[q] += d.x[q] * pr[i + j];
                            dv.x[q] += x.x[q] * pk[i + j];
                            ds.x[q] += x.x[q] * pb[i + j];
                        }
                        store(dS.data() + j * N, x);
                        g[0][i + j] = sum(dot(load(now + j * N), d));
                        g[1][i + j] = sum(dot(x, load(old + j * N)));
                        g[2][i + j] = sum(dot(x, vt));
                        g[5][i + j] = sum(dot(x, st));
                    }
                    store(g[3] + i, dv);
                    for (int j = 0; j < N; j++) {
                        row x = load(dS.data() + j * N);
                        g[4][i + j] = sum(dot(load(old + j * N), ds));
                        for (int q = 0; q < V; q++) {
                            x.x[q] = x.x[q] * pw[i + j] + ds.x[q] * pz[i + j];
                        }
                        store(dS.data() + j * N, x);
                    }
                }
            }
        }
    }
    return grads;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    m.def("forward", &forward, "y and the stored states");
    m.def("backward", &backward, "gradients of r, w, k, v, z, b");
}
