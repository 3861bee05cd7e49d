/* The large answer of pour and of floor --pour. */
#pragma once
enum { POUR_BYTES = 65536 };
#define POUR_HEADERS                                                                                                     \
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:5099;branch=z9hG4bK1\r\nFrom: <sip:load@127.0.0.1>;tag=3f7a\r\n"          \
    "To: <sip:bench@127.0.0.1>;tag=pour\r\nCall-ID: 1@127.0.0.1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 65536\r\n\r\n"
