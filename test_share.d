test_share.o: tests/unit/test_share.c src/core/grant.h src/core/instant.h \
  src/core/limit.h src/core/share.h src/core/gcra.h src/core/saturate.h \
  tests/lib/random.h

src/core/grant.h:

src/core/instant.h:

src/core/limit.h:

src/core/share.h:

src/core/gcra.h:

src/core/saturate.h:

tests/lib/random.h:
