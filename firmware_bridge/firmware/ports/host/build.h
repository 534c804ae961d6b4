/* What a build is: on the host port the version is that of the image in the simulated slot. */
#ifndef INNERVATE_BUILD_H
#define INNERVATE_BUILD_H

#include <stdint.h>

#include "key.h"

extern uint32_t host_version;
#define BUILD_PORT PORT_HOST
#define BUILD_VERSION host_version
#define BUILD_ID {'h', 'o', 's', 't', 0, 0, 0, 0}

#endif
