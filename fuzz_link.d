fuzz_link.o: tests/fuzz/fuzz_link.c src/config/redis_url.h \
  src/obs/assert.h src/replica/link_message.h src/replica/batch.h \
  src/core/key.h src/core/merge.h src/core/limit.h \
  src/replica/link_script.h src/replica/redis.h

src/config/redis_url.h:

src/obs/assert.h:

src/replica/link_message.h:

src/replica/batch.h:

src/core/key.h:

src/core/merge.h:

src/core/limit.h:

src/replica/link_script.h:

src/replica/redis.h:
