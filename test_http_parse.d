test_http_parse.o: tests/unit/test_http_parse.c src/doors/http_parse.h

src/doors/http_parse.h:
