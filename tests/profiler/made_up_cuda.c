/* A made-up libcuda and libnvidia-ml in one: the functions that are asked for, declared as NVIDIA's headers do,
   on a GPU of 1 GiB whose time passes with its work. Returns NVIDIA's error codes for what is wrong. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult, CUdevice, nvmlReturn_t;
typedef unsigned long long CUdeviceptr;
typedef void *CUcontext, *CUstream, *CUmodule, *CUfunction, *nvmlDevice_t;
typedef struct { double at_ms; int recorded; } *CUevent;

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, NOT_FOUND = 500 };
static const size_t TOTAL = (size_t)1 << 30;
static size_t used;
static double done_ms, now_ms;
static int initialized, current;
static char context[1], stream[1], module[1], function[1], device[1];

static CUresult ready(void) { return !initialized ? NOT_INITIALIZED : current ? 0 : INVALID_CONTEXT; }
static int inside(CUdeviceptr p, size_t n) { return p >= 4096 && p + n <= 4096 + used; }

CUresult cuInit(unsigned flags) { initialized = flags == 0; return flags ? INVALID_VALUE : 0; }
CUresult cuDeviceGet(CUdevice *d, int ordinal) { *d = 7; return ordinal ? 101 : 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { *c = context; return d == 7 ? 0 : 101; }
CUresult cuCtxSetCurrent(CUcontext c) { current = c == context; return current ? 0 : INVALID_CONTEXT; }
CUresult cuCtxSynchronize(void) { now_ms = done_ms; return ready(); }
CUresult cuStreamCreate(CUstream *s, unsigned flags) { *s = stream; return flags ? INVALID_VALUE : ready(); }
CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice d) {
    if (size < 13 || d != 7) return INVALID_VALUE;
    strcpy(text, "0000:3B:00.0");
    return 0;
}
CUresult cuEventCreate(CUevent *e, unsigned flags) { *e = calloc(1, sizeof **e); return flags ? INVALID_VALUE : ready(); }
CUresult cuEventRecord(CUevent e, CUstream s) { e->at_ms = done_ms; e->recorded = 1; return s ? INVALID_VALUE : ready(); }
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    if (!start->recorded || !end->recorded || end->at_ms > now_ms) return 600; /* not ready */
    *ms = (float)(end->at_ms - start->at_ms);
    return 0;
}
CUresult cuEventDestroy_v2(CUevent e) { e->recorded = 0; free(e); return 0; }
CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *total = TOTAL; *free_bytes = TOTAL - used; return ready(); }
CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n) {
    if (ready()) return ready();
    if (n == 0) return INVALID_VALUE;
    if (n > TOTAL - used) return OUT_OF_MEMORY;
    *p = 4096 + used;
    used += n;
    return 0;
}
CUresult cuMemsetD8_v2(CUdeviceptr p, unsigned char value, size_t n) { return inside(p, n) && !value ? 0 : INVALID_VALUE; }
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
    if (!inside(to, n) || !inside(from, n) || to == from || s) return INVALID_VALUE;
    done_ms += n / 1e8;
    return ready();
}
CUresult cuModuleLoadData(CUmodule *m, const char *image) {
    *m = module;
    return strstr(image, ".entry chain(.param .u64 out, .param .u32 rounds)") ? ready() : 218; /* invalid PTX */
}
CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
    *f = function;
    return m != module ? INVALID_VALUE : strcmp(name, "chain") ? NOT_FOUND : 0;
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream s, void **parameters, void **extra) {
    if (f != function || gy != 1 || gz != 1 || by != 1 || bz != 1 || shared || s || extra) return INVALID_VALUE;
    uint64_t out = *(uint64_t *)parameters[0];
    uint32_t rounds = *(uint32_t *)parameters[1];
    if (!inside(out, 4ull * gx * bx)) return 700; /* illegal address */
    done_ms += 1e-9 * gx * bx * rounds;
    return ready();
}
CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == INVALID_VALUE ? "invalid argument" : error == NOT_FOUND ? "named symbol not found" : NULL;
    return *text ? 0 : INVALID_VALUE;
}

nvmlReturn_t nvmlInit_v2(void) { return 0; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "580.1", size); return 0; }
nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus, nvmlDevice_t *d) {
    *d = device;
    return strcmp(bus, "0000:3B:00.0") ? 6 : 0;
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *text, unsigned size) { strncpy(text, "made up", size); return d != device; }
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t d, int kind, unsigned *mhz) { *mhz = 1500; return d != device || kind != 1; }
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t d, int kind, unsigned *mhz) { *mhz = 1980; return d != device || kind != 1; }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned *mw) { *mw = 120000; return d != device; }
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, int sensor, unsigned *c) { *c = 41; return d != device || sensor; }
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t d, unsigned long long *bits) {
    *bits = 0x100000004ull;
    return d != device;
}
