// For the files that are compiled once for each instruction set: macros for loops that vectorise, and names by set.
#pragma once

#if defined(__clang__)
#define RAWZOO_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RAWZOO_INDEPENDENT _Pragma("GCC ivdep")  // which GCC says it ignores where it instruments the loop
#else
#define RAWZOO_INDEPENDENT
#endif

#define RAWZOO_CONCAT_(a, b) a##b
#define RAWZOO_CONCAT(a, b) RAWZOO_CONCAT_(a, b)
#define RAWZOO_STRING_(a) #a
#define RAWZOO_STRING(a) RAWZOO_STRING_(a)
#define RAWZOO_FOR_ISA(name) RAWZOO_CONCAT(RAWZOO_CONCAT(name, _), RAWZOO_ISA)
