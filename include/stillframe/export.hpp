// What libstillframe.so shows of its C++ side; everything else is hidden.
#pragma once

#define STILLFRAME_EXPORT __attribute__((visibility("default")))
