/* The loader's bytes, and room for the header and signature of this image (`image stamp` fills it after linking). */
    .section .loader, "a", %progbits
    .incbin LOADER
    .section .image_header, "a", %progbits
    .fill 512, 1, 0xff
