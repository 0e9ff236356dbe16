test_resp_parse.o: tests/unit/test_resp_parse.c src/doors/resp_parse.h

src/doors/resp_parse.h:
