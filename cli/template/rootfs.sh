#!/bin/sh
# Makes the guest's root filesystem image from Debian packages. Run under fakeroot: what it makes is owned by root
# inside of the image, whoever runs it. Maintainer scripts are not run; what the guest needs of them is done here.
#
#   WORK     directory to work in; the tree is made in $WORK/root, the kernel's package is unpacked in $WORK/kernel
#   PACKAGES file with one path of a .deb per line
#   KERNEL   path of the kernel's .deb
#   OVERLAY  files that are laid over the tree
#   IMAGE    path of the image, and IMAGE_BYTES its size
#   LOGIN    name of the login user
#   AUTHORIZED_KEY  public key baked in for it; empty where the seed disk brings the keys
set -eu

root=$WORK/root
admin=$root/var/lib/dpkg

# Unpacks a package and prints the names of what was in it.
unpack() {
  dpkg-deb --fsys-tarfile "$1" |
    tar --extract --verbose --directory "$2" --preserve-permissions --keep-directory-symlink
}

# Tells dpkg of an unpacked package, so that apt-get works in the guest. Its file list comes on stdin.
register() {
  control=$WORK/control
  rm -rf "$control"
  dpkg-deb --control "$1" "$control"
  package=$(sed -n 's/^Package: //p' "$control/control")
  if grep -q '^Multi-Arch: same' "$control/control"; then
    package=$package:$(sed -n 's/^Architecture: //p' "$control/control")
  fi
  sed -e 's#^\.##' -e 's#/$##' -e 's#^$#/.#' > "$admin/info/$package.list"
  sed '/^Package: /a Status: install ok installed' "$control/control"
  if [ -e "$control/conffiles" ]; then
    echo 'Conffiles:'
    (cd "$root" && sed -n 's#^/##p' "$control/conffiles" | xargs -r md5sum 2> "$WORK/md5sum.log") |
      sed 's#^\([0-9a-f]*\)  \(.*\)# /\2 \1#'
  fi
  echo
  rm "$control/control"
  for file in "$control"/*; do
    [ ! -e "$file" ] || cp "$file" "$admin/info/$package.${file##*/}"
  done
}

mkdir -p "$root/usr" "$admin/info"
for directory in bin sbin lib lib64; do
  mkdir "$root/usr/$directory"
  ln -s "usr/$directory" "$root/$directory"
done
while read -r package; do
  unpack "$package" "$root" > "$WORK/files"
  register "$package" < "$WORK/files" >> "$admin/status"
done < "$PACKAGES"
touch "$admin/available"
# The names in info/ carry the architecture.
echo 1 > "$admin/info/format"

# Manuals and translations are a third of the packages; nobody reads them in a VM that lives for one job.
rm -rf "$root/usr/share/man" "$root/usr/share/info" "$root/usr/share/locale" "$root/usr/share/lintian"
find "$root/usr/share/doc" -depth ! -name copyright ! -type d -delete
find "$root/usr/share/doc" -depth -type d -empty -delete

mkdir "$WORK/kernel"
unpack "$KERNEL" "$WORK/kernel" > "$WORK/files"
for modules in "$WORK/kernel/lib/modules" "$WORK/kernel/usr/lib/modules"; do
  [ ! -d "$modules" ] || cp -a "$modules" "$root/usr/lib/"
done
sh "${0%/*}/guest-program.sh" "$root" /usr/bin/kmod depmod --basedir "$root" "$(ls "$root/usr/lib/modules")"

cp -R "$OVERLAY/." "$root/"
find "$root/etc/sudoers.d" -type f -exec chmod 0440 {} +

cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
echo "$LOGIN:*:1000:1000:$LOGIN:/home/$LOGIN:/bin/bash" >> "$root/etc/passwd"
echo "$LOGIN:x:1000:" >> "$root/etc/group"
# `*` is no password: logging in with one is impossible, with a key it is not.
sed 's/^\([^:]*\):[^:]*:.*/\1:*:19000:0:99999:7:::/' "$root/etc/passwd" > "$root/etc/shadow"
sed -i 's/^\([^:]*\):[^:]*:/\1:x:/' "$root/etc/passwd"
sed 's/^\([^:]*\):.*/\1:*::/' "$root/etc/group" > "$root/etc/gshadow"
chown 0:42 "$root/etc/shadow" "$root/etc/gshadow"
chmod 0640 "$root/etc/shadow" "$root/etc/gshadow"
cp -R "$root/etc/skel" "$root/home/$LOGIN"
mkdir -m 0700 "$root/home/$LOGIN/.ssh"
if [ -n "$AUTHORIZED_KEY" ]; then
  echo "$AUTHORIZED_KEY" > "$root/home/$LOGIN/.ssh/authorized_keys"
  chmod 0600 "$root/home/$LOGIN/.ssh/authorized_keys"
fi
chown -R 1000:1000 "$root/home/$LOGIN"

# From here on, what the packages' own scripts would have done.
for link in var/run:/run var/lock:/run/lock var/spool/mail:../mail; do
  path=$root/${link%%:*}
  rm -rf "$path"
  mkdir -p "${path%/*}"
  ln -s "${link#*:}" "$path"
done
for directory in mnt srv opt etc/opt var/opt media usr/local/bin usr/local/sbin usr/local/lib usr/local/share \
  usr/local/include usr/local/src usr/local/etc; do
  mkdir -p "$root/$directory"
done
mkdir -p "$root/var/mail"
chown 0:8 "$root/var/mail"
chmod 2775 "$root/var/mail"
cp "$root/usr/share/base-files/dot.profile" "$root/root/.profile"
cp "$root/usr/share/base-files/dot.bashrc" "$root/root/.bashrc"
for file in profile nsswitch.conf; do
  for source in "$root/usr/share/base-files/$file" "$root/usr/share/libc-bin/$file"; do
    [ -e "$root/etc/$file" ] || [ ! -e "$source" ] || cp "$source" "$root/etc/$file"
  done
done
for program in reboot poweroff halt; do
  ln -s ../bin/busybox "$root/usr/sbin/$program"
done
alternative() {
  [ ! -e "$root$3" ] || update-alternatives --quiet --root "$root" --install "$@"
}
alternative /usr/bin/awk awk /usr/bin/mawk 5 --slave /usr/bin/nawk nawk /usr/bin/mawk
alternative /usr/bin/which which /usr/bin/which.debianutils 0
alternative /usr/bin/pager pager /usr/bin/more 50
alternative /usr/bin/w w /usr/bin/w.procps 50
find "$root/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat > "$root/etc/ssl/certs/ca-certificates.crt"
(cd "$root/usr/share/ca-certificates" && find . -name '*.crt' | sort | sed 's#^\./##') > "$root/etc/ca-certificates.conf"
codename=$(. "$root/etc/os-release" && echo "$VERSION_CODENAME")
cat > "$root/etc/apt/sources.list" <<SOURCES
deb http://deb.debian.org/debian $codename main
deb http://deb.debian.org/debian $codename-updates main
deb http://deb.debian.org/debian-security $codename-security main
SOURCES
echo guest > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 guest\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"
: > "$root/etc/resolv.conf"
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp"
chmod 1777 "$root/tmp"
"$root/usr/sbin/ldconfig" -r "$root"

# No journal: a VM that stops is never started again. SSH waits while the filesystem is grown to the VM's disk; large
# flexible groups halve that time.
mke2fs -q -F -t ext4 -O '^has_journal' -G 256 -m 0 -L root -E root_owner=0:0,lazy_itable_init=0 \
  -d "$root" "$IMAGE" "$((IMAGE_BYTES / 1024))k"
