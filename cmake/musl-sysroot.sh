#!/usr/bin/env bash
# Build envd's libraries for musl from Debian's source packages and print the folder they are in.
#
#   usage: musl-sysroot.sh            build what is missing, print the sysroot's path
#          musl-sysroot.sh --path     print where it is or would be, build nothing
#
# The sysroot lies in ${XDG_CACHE_HOME:-~/.cache}/sandpit/musl-KEY, where KEY is made of this script
# and the versions of its inputs. It appears there whole or not at all; an interrupted run goes on
# after the last library that was finished. apt runs with lists and sources of its own, so that the
# machine's stay as they are.
set -euo pipefail
export LC_ALL=C
unset CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS DESTDIR

fail()
{
    echo "musl-sysroot: $*" >&2
    exit 1
}
say()
{
    echo "musl-sysroot: $*" >&2
}

# Source package of a library: the -dev package whose version says which one the machine builds with.
SOURCES=(libuv1:libuv1-dev nghttp2:libnghttp2-dev jansson:libjansson-dev
    protobuf-c:libprotobuf-c-dev zlib:zlib1g-dev)
CFLAGS_MUSL="-O2 -g -fstack-protector-strong -ffunction-sections -fdata-sections"

for tool in musl-gcc:musl-tools dpkg-source:dpkg-dev cmake:cmake ninja:ninja-build make:make \
        apt-get:apt sha256sum:coreutils flock:util-linux; do
    command -v "${tool%%:*}" >/dev/null ||
        fail "${tool%%:*} is missing; install the package ${tool##*:}"
done

source_version()
{
    dpkg-query -W -f '${source:Version}' "$1" 2>/dev/null || fail "the package $1 is not installed"
}

inputs()
{
    cat "${BASH_SOURCE[0]}"
    musl-gcc -dumpfullversion
    for package in musl-tools linux-libc-dev "${SOURCES[@]##*:}"; do
        echo "$package $(source_version "$package")"
    done
}

key_text=$(inputs)
key=$(sha256sum <<<"$key_text" | cut -c1-16)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/sandpit
sysroot=$cache/musl-$key

if [ "${1:-}" = --path ] || [ -d "$sysroot" ]; then
    echo "$sysroot"
    exit 0
fi
[ $# -eq 0 ] || fail "unknown argument $1"

mkdir -p "$cache" || fail "cannot create $cache"
exec 9>"$cache/musl.lock"
flock -n 9 || { say "waiting for another build of the sysroot"; flock 9; }
if [ -d "$sysroot" ]; then
    echo "$sysroot"
    exit 0
fi

# Leftovers of builds of other inputs; the lock says that nobody works there.
find "$cache" -maxdepth 1 -name 'musl-*.work' ! -name "musl-$key.work" -exec rm -rf {} +
work=$cache/musl-$key.work
stage=$work/stage
log=$work/log
mkdir -p "$stage/lib/pkgconfig" "$stage/include" "$stage/kernel" "$stage/licenses" "$work/done" \
    "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/src"
: >"$log"

# Run a command with its output in the log; on failure show the last lines of it.
quietly()
{
    if ! "$@" >>"$log" 2>&1; then
        tail -n 5 "$log" | sed 's/^/    /' >&2
        return 1
    fi
}

# An apt that knows the source packages of the machine's own Debian archives.
private_apt()
{
    apt-get -qq -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

enable_sources()
{
    [ ! -e "$work/done/apt" ] || return 0
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || fail "$keyring is missing; install debian-archive-keyring"
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | sed -n "s|^Debian \(.*\)|deb-src [signed-by=$keyring] \1|p" |
        awk '!seen[$0]++' >"$work/apt/sources.list"
    [ -s "$work/apt/sources.list" ] ||
        fail "apt knows no Debian archive; run apt-get update as root first"
    say "fetching the index of Debian's sources"
    quietly private_apt -o APT::Update::Error-Mode=any update ||
        fail "cannot fetch the index of Debian's sources: no network, or the disk is full"
    touch "$work/done/apt"
}

# fetch SOURCE VERSION: unpack into $work/src/SOURCE.
fetch()
{
    local source=$1 version=$2
    [ ! -e "$work/done/fetch-$source" ] || return 0
    rm -rf "$work/src/$source" "$work/fetch"
    mkdir "$work/fetch"
    (
        cd "$work/fetch"
        # The archive may have moved on from the version that is installed here.
        quietly private_apt --download-only source "$source=$version" 2>/dev/null ||
            quietly private_apt --download-only source "$source"
    ) || fail "cannot fetch the source of $source: no network, or the disk is full"
    quietly dpkg-source -x "$work"/fetch/*.dsc "$work/src/$source" ||
        fail "cannot unpack the source of $source; the log is $log"
    rm -rf "$work/fetch"
    cp "$work/src/$source/debian/copyright" "$stage/licenses/$source"
    touch "$work/done/fetch-$source"
}

# cmake_build SOURCE TARGET [OPTION...]: build one target in $work/build/SOURCE.
cmake_build()
{
    local source=$1 target=$2
    shift 2
    quietly cmake -S "$work/src/$source" -B "$work/build/$source" -G Ninja \
        -DCMAKE_C_COMPILER=musl-gcc -DCMAKE_C_FLAGS="$CFLAGS_MUSL -idirafter $stage/kernel" \
        -DCMAKE_BUILD_TYPE=None -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF "$@" &&
        quietly cmake --build "$work/build/$source" --target "$target"
}

# pkg_config NAME VERSION LIB: the file by which the build finds the library.
pkg_config()
{
    printf '%s\n' 'prefix=${pcfiledir}/../..' "Name: $1" "Description: $1 for musl" \
        "Version: $2" 'Cflags: -I${prefix}/include' "Libs: -L\${prefix}/lib -l$3" \
        >"$stage/lib/pkgconfig/$1.pc"
}

# The upstream part of a Debian version.
upstream()
{
    sed 's/^[0-9]*://; s/-[^-]*$//; s/[+.]dfsg.*//' <<<"$1"
}

build_libuv1()
{
    cmake_build libuv1 uv_a -DLIBUV_BUILD_TESTS=OFF || return 1
    cp "$work/build/libuv1/libuv_a.a" "$stage/lib/libuv.a"
    cp -r "$work/src/libuv1/include/." "$stage/include/"
    pkg_config libuv "$1" uv
}

build_nghttp2()
{
    cmake_build nghttp2 nghttp2_static -DENABLE_LIB_ONLY=ON -DENABLE_STATIC_LIB=ON \
        -DENABLE_SHARED_LIB=OFF || return 1
    cp "$(find "$work/build/nghttp2/lib" -name 'libnghttp2*.a')" "$stage/lib/libnghttp2.a"
    mkdir -p "$stage/include/nghttp2"
    cp "$work/src/nghttp2/lib/includes/nghttp2/nghttp2.h" \
        "$work/build/nghttp2/lib/includes/nghttp2/nghttp2ver.h" "$stage/include/nghttp2/"
    pkg_config libnghttp2 "$1" nghttp2
}

build_jansson()
{
    cmake_build jansson jansson -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON \
        -DJANSSON_EXAMPLES=OFF || return 1
    cp "$(find "$work/build/jansson" -name libjansson.a)" "$stage/lib/"
    cp "$work/build/jansson/include/"*.h "$stage/include/"
    pkg_config jansson "$1" jansson
}

build_protobuf-c()
{
    local source=$work/src/protobuf-c object=$work/build/protobuf-c.o
    mkdir -p "$work/build" "$stage/include/protobuf-c"
    # shellcheck disable=SC2086
    quietly musl-gcc $CFLAGS_MUSL -I"$source" -c "$source/protobuf-c/protobuf-c.c" -o "$object" ||
        return 1
    rm -f "$stage/lib/libprotobuf-c.a"
    ar rcs "$stage/lib/libprotobuf-c.a" "$object"
    cp "$source/protobuf-c/protobuf-c.h" "$stage/include/protobuf-c/"
    pkg_config libprotobuf-c "$1" protobuf-c
}

build_zlib()
{
    local source=$work/src/zlib
    (
        cd "$source" && export CC=musl-gcc CFLAGS="$CFLAGS_MUSL" &&
            quietly ./configure --static && quietly make libz.a
    ) || return 1
    cp "$source/libz.a" "$stage/lib/"
    cp "$source/zlib.h" "$source/zconf.h" "$stage/include/"
    pkg_config zlib "$1" z
}

# Kernel headers, to be given with -idirafter: musl's own come first.
ln -sfn /usr/include/linux "$stage/kernel/linux"
ln -sfn /usr/include/asm-generic "$stage/kernel/asm-generic"
ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" "$stage/kernel/asm"
[ -e "$stage/kernel/linux/random.h" ] || fail "the package linux-libc-dev is not installed"
cp /usr/share/doc/musl/copyright "$stage/licenses/musl"

for entry in "${SOURCES[@]}"; do
    source=${entry%%:*}
    [ ! -e "$work/done/$source" ] || continue
    version=$(source_version "${entry##*:}")
    enable_sources
    say "building $source $version"
    fetch "$source" "$version"
    rm -rf "${work:?}/build/$source"
    "build_$source" "$(upstream "$version")" || fail "cannot build $source; the log is $log"
    touch "$work/done/$source"
done

sync -f "$stage"
mv -T "$stage" "$sysroot"
rm -rf "$work"
echo "$sysroot"
