/* The public half of the development key. Its private half is SHA-256("innervate development key"), which everybody knows: images signed with it
 * prove nothing but that the machinery works. A product makes its own pair: `python -m innervate.firmware_bridge.image key NAME`, then builds with
 * `make KEYS=folder`, and keeps the private half off the device. */
#ifndef INNERVATE_KEY_H
#define INNERVATE_KEY_H

#define BUILD_KEY \
    { 0xef, 0xec, 0x37, 0x91, 0xc0, 0x26, 0x7b, 0x11, 0x16, 0xf5, 0x46, 0x80, 0xc2, 0xc0, 0x6a, 0x99, \
      0x7e, 0x93, 0xf1, 0xf7, 0x28, 0x10, 0x5e, 0x82, 0xe3, 0xda, 0x80, 0xdd, 0xfa, 0x29, 0xc0, 0x54 }

#endif
