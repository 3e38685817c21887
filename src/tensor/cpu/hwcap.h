/* hwcap.h - which instruction sets an Arm processor of 64 bits offers. */
#ifndef LATHE_TENSOR_CPU_HWCAP_H
#define LATHE_TENSOR_CPU_HWCAP_H

#include <stdbool.h>

#ifdef __APPLE__
#include <sys/sysctl.h>

static inline bool hwcap_feature(const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, (void *) 0, 0) == 0 && value != 0;
}
static inline bool hwcap_has_dotprod(void) {
    return hwcap_feature("hw.optional.arm.FEAT_DotProd");
}
static inline bool hwcap_has_i8mm(void) {
    return hwcap_has_dotprod() && hwcap_feature("hw.optional.arm.FEAT_I8MM");
}
#else
#include <sys/auxv.h>

/* Bits of the kernel's auxiliary vector (arm64's asm/hwcap.h). */
static inline bool hwcap_has_dotprod(void) {
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0;
}
static inline bool hwcap_has_i8mm(void) {
    return hwcap_has_dotprod() && (getauxval(AT_HWCAP2) >> 13 & 1) != 0;
}
#endif

#endif
