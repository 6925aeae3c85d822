# sms3300: SMS from PostgreSQL through the 3300 gateway

EXTENSION = sms3300
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" sms3300.control)

MODULE_big = sms3300
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# The install script of the current version is built from sql/sms3300.sql. The other
# scripts in sql/ are updates and what the regression tests run.
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA = $(filter-out $(DATA_built),$(wildcard sql/$(EXTENSION)--*.sql))
REGRESS = $(patsubst sql/%.sql,%,$(sort $(filter-out sql/$(EXTENSION)%,$(wildcard sql/*.sql))))

REGRESS_OPTS = --encoding=UTF8 --no-locale

PG_CPPFLAGS = -I$(srcdir)/src -DSMS3300_VERSION='"$(EXTVERSION)"' $(shell curl-config --cflags)
# What libcurl checks certificates with.
SHLIB_LINK = $(shell curl-config --libs) -lssl -lcrypto

PG_CONFIG ?= pg_config

# What developers type: `make help` lists it. The scripts install what is missing, so that
# these need neither pg_config nor PGXS, whose own `check` says only that there is none.
DEVELOPMENT = help check check-quick lint fuzz bench format dist doc
ifneq ($(filter $(DEVELOPMENT),$(MAKECMDGOALS)),)

.PHONY: $(DEVELOPMENT)

help:
	@echo 'make                        build the extension'
	@echo 'make install                install it into the folders of $$(PG_CONFIG)'
	@echo 'make installcheck           run sql/ on a server that runs'
	@echo 'make check [TESTS=...]      run all tests on private servers, or those named'
	@echo 'make check-quick            run those for between two edits'
	@echo 'make lint                   compile with clang, and run cppcheck, clang-tidy, shellcheck'
	@echo 'make fuzz [SECONDS=60]      feed random bytes to what reads bytes from outside'
	@echo 'make bench [ARGS=...]       measure: see test/bench/run.sh'
	@echo 'make format [PGINDENT=...]  indent the source as PostgreSQL does'
	@echo 'make compile_commands.json  tell editors how files are compiled'
	@echo 'make dist                   make the zip for PGXN'
	@echo 'make doc                    draw the pictures in doc/'

TESTS =
check:
	sh test/check.sh $(TESTS)

check-quick:
	sh test/check.sh quick

lint:
	sh test/check.sh build-clang cppcheck clang-tidy shellcheck

SECONDS = 60
fuzz:
	sh test/fuzz/run.sh $(SECONDS)

ARGS =
bench:
	sh test/bench/run.sh $(ARGS)

# pgindent is a script in PostgreSQL's source, src/tools/pgindent, and needs pg_bsd_indent
# of the same source in the PATH. It knows PostgreSQL's types; ours are told to it.
PGINDENT = pgindent
SOURCES = $(wildcard src/*.[ch] src/*/*.[ch])
format:
	@$(PGINDENT) --list-of-typedefs="CURL CURLM CURLcode CURLMcode curl_socket_t curl_off_t $$(sed -nE \
		's/^}[[:space:]]*(\w+);/\1/p; s/^typedef [^{(]*[ *](\w+);/\1/p; s/^typedef .*\(\*(\w+)\).*/\1/p' \
		$(SOURCES) | xargs)" $(SOURCES)

# What is committed, as a zip for PGXN, whose versions have three numbers.
DISTRIBUTION = $(EXTENSION)-$(EXTVERSION).0
dist:
	git archive --prefix=$(DISTRIBUTION)/ --output=$(DISTRIBUTION).zip HEAD

# The pictures in doc/ are drawn by graphviz.
doc: $(patsubst %.dot,%.svg,$(wildcard doc/*.dot))
doc/%.svg: doc/%.dot
	dot -Tsvg $< -o $@

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): sql/$(EXTENSION).sql
	cp $< $@

$(OBJS): $(wildcard src/*.h src/*/*.h) sms3300.control

# Versions that were never released, for the tests of updates from them.
.PHONY: install-early
install-early:
	$(INSTALL_DATA) $(wildcard test/early/*.sql) '$(DESTDIR)$(datadir)/extension/'

# Fail if a script that was released has changed.
.PHONY: check-released
check-released: $(DATA_built)
	sh test/released.sh

# How each file is compiled, for clangd and other tools.
compile_commands.json: Makefile $(OBJS:.o=.c)
	@$(MAKE) -s -n -B with_llvm=no $(OBJS) | perl -MCwd -MJSON::PP \
		-ne 'chomp; push @c, {directory => getcwd, command => $$_, file => $$1} if /-c -o \S+ (\S+\.c)/;' \
		-e 'END { print JSON::PP->new->pretty->canonical->encode(\@c) }' >$@

endif
