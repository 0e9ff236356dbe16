fuzz_http.o: tests/fuzz/fuzz_http.c src/doors/http_ask.h \
  src/doors/http_parse.h src/doors/http_write.h

src/doors/http_ask.h:

src/doors/http_parse.h:

src/doors/http_write.h:
