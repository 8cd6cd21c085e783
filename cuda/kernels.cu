// Every kernel, as the one image that is embedded in the library.
#include "fingerprint.cu"
#include "gather.cu"
