link_feed.o: tests/property/link_feed.c src/replica/link.h \
  src/replica/batch.h src/core/key.h src/core/merge.h src/core/limit.h \
  src/replica/link_tls.h

src/replica/link.h:

src/replica/batch.h:

src/core/key.h:

src/core/merge.h:

src/core/limit.h:

src/replica/link_tls.h:
