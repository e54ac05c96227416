# Two commands do everything on a fresh Debian machine with Rust:
#
#   make demo    builds Atoll and a guest image, brings up two machines, shows them talking
#   make test    every check there is; what CI runs
#
# Both install the Debian packages they need when they may (root, or sudo without a password), and
# otherwise say which are missing.

.PHONY: help deps demo test recipes check walls fuzz macos clean

help:
	@sed -n '3,7s/^# \{0,1\}//p' Makefile

deps:
	@scripts/deps.sh demo test

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

# Examples on guests that install packages: minutes each.
recipes:
	@scripts/recipes.sh

# Single steps of `make test`, for work on the code.
check:
	@scripts/test.sh format lints unit docs walls

walls:
	cargo xtask walls

fuzz:
	@scripts/test.sh fuzz

macos:
	@scripts/test.sh macos

clean:
	cargo clean
