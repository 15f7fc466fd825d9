# The sets of real data: listing, fetching from .deb files and from an archive of our own, damage, Ctrl-C. No network.
. "$(dirname "$0")/lib.bash"
export ETUDE_CACHE=$scratch/cache

# What there is.
expect 0 '^+ web' data list
expect 0 '^  kjv .*31k .*King James' data list bible public
expect 0 'no set has all of these' data list nothing-like-that
expect 0 '"name":"kjv"' --json data list kjv
expect 0 'sword-text-kjv 14.3-1' data show kjv
expect 0 'not fetched: etude data get kjv' data show set:kjv
expect 0 'printing is under' data show kjv
expect 0 'builtin:web' data show web
expect 0 '"sha256"' --json data show kjv
[ "$(printf '%s' "$out" | wc -l)" = 0 ] || fail "more than a line of JSON: $out"

# What the user gets wrong.
expect 2 "did you mean 'kjv'" data show kvj
expect 2 "did you mean 'list'" data lst
expect 2 "no part of 'data' is given" data
expect 2 "did you mean '--any-version'" data get kjv --any-versions
expect 2 'no set is named' data get
expect 2 'there is no data set' data get kjv nothing
expect 2 'there is no folder' data get kjv --debs nowhere
expect 4 'hint: etude data get kjv' data path kjv
expect 2 'builtin:web' data path web
expect 0 'was not fetched' data remove kjv
expect 4 'apt-get download sword-text-kjv=14.3-1' data get kjv --debs .
unset_home() { env -u HOME -u XDG_CACHE_HOME -u ETUDE_CACHE "$etude" "$@" > .out 2> .err; }
unset_home data path kjv
[ $? = 9 ] && grep -q 'hint: set ETUDE_CACHE' .err || fail "no home: $(cat .err)"
[ ! -e cache/sets/kjv ] || fail "something was fetched"

# A package of our own under a known name.
command -v dpkg-deb > /dev/null || { echo "no dpkg-deb: packages are not tried"; finish; exit; }
version=$("$etude" --json data show tz | sed 's/.*"version":"\([^"]*\)".*/\1/')
# package VERSION FOLDER: tzdata with 300 zones of Nowhere.
package() {
  rm -rf made && mkdir -p made/DEBIAN made/usr/share/zoneinfo "$2"
  printf 'Package: tzdata\nVersion: %s\nArchitecture: all\nMaintainer: nobody\nDescription: zones\n' "$1" > made/DEBIAN/control
  for n in $(seq 300); do printf 'XX\t+0000+00000\tNowhere/Zone%d\n' "$n"; done > made/usr/share/zoneinfo/zone.tab
  printf 'XX\tNowhere\n' > made/usr/share/zoneinfo/iso3166.tab
  ln -s /etc/passwd made/usr/share/zoneinfo/passwd
  dpkg-deb --root-owner-group -Zxz -b made "$2/tzdata_${1}_all.deb" > /dev/null
}
package "$version" debs
expect 4 "tzdata $version has SHA-256 .* in place of" data get tz --debs debs
printf '%s' "$err" | grep -q 'any-version' || fail "no way out: $err"
[ ! -e cache/sets/tz ] || fail "a package with another hash was taken"
expect 0 'tz .*300 documents' data get tz --debs debs --any-version
path=$("$etude" data path tz) || fail "no path"
[ "$(wc -l < "$path")" = 300 ] || fail "not a document a line: $(head -n 3 "$path")"
grep -q '"id":"Nowhere/Zone7"' "$path" || fail "no such zone"
[ "$(find cache -name passwd)" = '' ] || fail "a link was followed"
expect 0 '"fetched":true' --json data show tz
expect 0 'fetched .*tzdata' data show tz
expect 0 '^\* tz' data list zones

# Damage stops a run and names the version; fetching again mends it.
echo '{"text":"other"}' >> "$path"
expect 4 "(tzdata $version) is damaged" data path tz
expect 4 'hint: etude data get tz fetches it again' data path tz
expect 0 '300 documents' data get tz --debs debs --any-version
expect 0 'documents.jsonl' data path tz
rm "$path"
expect 4 'a file of it is missing' data path tz
expect 0 '300 documents' data get tz --debs debs --any-version

package 1.0 older
expect 4 "was made from tzdata $version; there is 1.0" data get tz --debs older
expect 0 '300 documents' data get tz --debs older --any-version
grep -q '"version": "1.0"' cache/sets/tz/manifest.json || fail "the manifest doesn't say which version"

# What is no package, or half of one.
mkdir bad
echo 'no package' > "bad/tzdata_${version}_all.deb"
expect 4 'SHA-256' data get tz --debs bad
expect 4 'this is no Debian package' data get tz --debs bad --any-version
head -c 700 "debs/tzdata_${version}_all.deb" > "bad/tzdata_${version}_all.deb"
expect 4 'hint' data get tz --debs bad --any-version
grep -q '"version": "1.0"' cache/sets/tz/manifest.json || fail "a failed fetch took the old set away"
[ "$(find cache/sets -name '.making*')" = '' ] || fail "something was left half made: $(ls -a cache/sets)"
expect 0 'tz is removed' data remove tz
expect 4 'was not fetched' data path tz

# An archive of our own, by a file: address.
if command -v apt-get > /dev/null && command -v apt-cache > /dev/null; then
  archive=$(mktemp -d "${TMPDIR:-/tmp}/etude-archive.XXXXXX")
  trap 'rm -rf "$archive"; chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  index=$archive/dists/bookworm/main
  mkdir -p "$index/binary-amd64" "$index/i18n" "$archive/pool"
  cp "debs/tzdata_${version}_all.deb" "$archive/pool/tzdata.deb"
  {
    printf 'Package: tzdata\nVersion: %s\nArchitecture: all\nMaintainer: nobody\nSection: localization\n' "$version"
    printf 'Filename: pool/tzdata.deb\nSize: %s\n' "$(stat -c %s "$archive/pool/tzdata.deb")"
    printf 'SHA256: %s\n' "$(sha256sum < "$archive/pool/tzdata.deb" | cut -d ' ' -f 1)"
    printf 'Description: zones\nDescription-md5: 0123456789abcdef0123456789abcdef\n'
  } > "$index/binary-amd64/Packages"
  printf 'Package: tzdata\nDescription-md5: 0123456789abcdef0123456789abcdef\nDescription-en: zones\n of nowhere\n' \
    > "$index/i18n/Translation-en"
  {
    printf 'Origin: Debian\nSuite: stable\nCodename: bookworm\nArchitectures: amd64\nComponents: main\n'
    printf 'Date: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n'
    for file in main/binary-amd64/Packages main/i18n/Translation-en; do
      printf ' %s %s %s\n' "$(sha256sum < "$archive/dists/bookworm/$file" | cut -d ' ' -f 1)" \
        "$(stat -c %s "$archive/dists/bookworm/$file")" "$file"
    done
  } > "$archive/dists/bookworm/Release"
  chmod -R a+rX "$archive"
  echo "deb [trusted=yes] file:$archive bookworm main" > sources.list

  expect 4 "tzdata $version has SHA-256" data get tz --apt-sources sources.list
  expect 0 'tz .*300 documents' data get tz --apt-sources sources.list --any-version
  expect 4 "the archive has no package 'sword-text-kjv'" data get kjv --apt-sources sources.list
  expect 0 'debdesc .*1 documents' data get debdesc --apt-sources sources.list
  grep -q '"text":"zones\\n\\nof nowhere"' cache/sets/debdesc/documents.jsonl || fail "$(cat cache/sets/debdesc/documents.jsonl)"
  echo 'deb [trusted=yes] file:/nowhere bookworm main' > nowhere.list
  expect 9 "can't be reached" data get kjv --apt-sources nowhere.list
  expect 9 'hint' data get kjv --apt-sources no-such-file.list
else
  echo "no apt-get: an archive is not tried"
fi

# Without apt there is another way; Ctrl-C leaves nothing behind.
mkdir tools
expect_without_apt() {
  PATH=$scratch/tools "$etude" data get kjv > .out 2> .err
  [ $? = 9 ] && grep -q 'hint: .*--debs FOLDER' .err || fail "without apt: $(cat .err)"
}
expect_without_apt
printf '#!/bin/sh\necho begun > "%s/begun"\nexec sleep 97531\n' "$scratch" > tools/apt-get
chmod +x tools/apt-get
PATH=$scratch/tools:$PATH "$etude" data get kjv > .out 2> .err &
child=$!
wait_for begun begun
kill -INT "$child"
wait "$child"
[ $? = 130 ] || fail "Ctrl-C: $(cat .err)"
nobody_left 97531
[ "$(find cache/sets -name '*kjv*' ! -name '.lock-kjv')" = '' ] || fail "Ctrl-C left: $(ls -a cache/sets)"
finish
