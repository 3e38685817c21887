/** @file version.h
 * The version of this header; lathe_version() tells that of the library at run time. */
#ifndef LATHE_VERSION_H
#define LATHE_VERSION_H

#define LATHE_VERSION_MAJOR  0
#define LATHE_VERSION_MINOR  1
#define LATHE_VERSION_PATCH  0
#define LATHE_VERSION_NUMBER (LATHE_VERSION_MAJOR * 10000 + LATHE_VERSION_MINOR * 100 + LATHE_VERSION_PATCH)
#define LATHE_VERSION_STRING "0.1.0"

#endif
