test_redis_url.o: tests/unit/test_redis_url.c src/config/redis_url.h

src/config/redis_url.h:
