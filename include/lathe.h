/** @file lathe.h
 * All of the library. */
#ifndef LATHE_H
#define LATHE_H

#include "lathe/base.h"
#include "lathe/decode.h"
#include "lathe/lab.h"
#include "lathe/model.h"
#include "lathe/probe.h"
#include "lathe/tensor.h"
#include "lathe/train.h"
#include "lathe/tree.h"

#endif
