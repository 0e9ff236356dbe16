test_tags.o: tests/unit/test_tags.c tests/lib/random.h src/net/tags.h \
  include/mete/mac.h

tests/lib/random.h:

src/net/tags.h:

include/mete/mac.h:
