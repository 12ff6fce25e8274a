// The headers that most unit tests need, compiled once.
#include "runtime/support/pch.h"

#include <gtest/gtest.h>
