/* default.lua as bytes of the program; options.c names both ends. */
        .section .rodata
        .global sipd_default_script
        .global sipd_default_script_end
sipd_default_script:
        .incbin "default.lua"
sipd_default_script_end:
        .byte 0
        .section .note.GNU-stack,"",%progbits
