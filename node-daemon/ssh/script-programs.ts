/**
 * What runs in the guest to start, watch and end the setup script. POSIX shell and the utilities that Linux
 * (coreutils or busybox) and macOS share; no single quotes and no backslashes (see guest-command.ts).
 *
 * In the login user's `$HOME/.shoes-vz/setup`, mode 0700:
 *
 *     claim        whose the script is: pid, start time and boot id of the supervisor
 *     pid          pid and start time of the script, which leads a session and process group of its own
 *     alive        named pipe that the supervisor holds open: its readers see the end when it is gone
 *     pipe         named pipe that the script writes to
 *     out.<n>      the last two pieces of its output, each between 128 KiB and 2.2 MiB
 *     drained      all of the output was read
 *     exit         exit code, as a shell has it
 *
 * The claim is made with O_EXCL: only once, whatever is retried or runs at the same time. Nothing of the script
 * is ever run before it. A directory without a claim is the trace of
 * an upload that was begun; it is harmless and may be begun anew.
 *
 * Limits: a guest whose logind kills the processes of a session that has ended (KillUserProcesses=yes, which
 * no major distribution ships) kills the script with it. While an interpreter other than a shell runs, its
 * children may inherit the script as descriptor 9; on macOS it lies in a file for its first 30 seconds.
 */

/**
 * As little as possible is run as a program of its own: in an emulated guest each costs some 10 ms. A file is
 * read as complete only with its line end.
 */
const COMMON = `
d=$HOME/.shoes-vz/setup

# Sets started to the start time of a process. Fails where there is none, or only its remains.
look_up() {
  started=
  [ -n "$1" ] || return 1
  if [ -r /proc/self/stat ]; then
    read -r stat 2>/dev/null < "/proc/$1/stat" || return 1
    # The name, in parentheses, may hold anything.
    case $stat in *") "*) ;; *) stat=$(cat "/proc/$1/stat") || return 1 ;; esac
    set -- \${stat##*) }
    case $1 in Z | X | "") return 1 ;; esac
    shift 19
    started=$1
  else
    stat=$(ps -o stat=,lstart= -p "$1" 2>/dev/null) || return 1
    set -- $stat
    case $1 in Z* | "") return 1 ;; esac
    shift
    started=$(echo "$*" | tr " " _)
  fi
}

boot_id=none
if [ -r /proc/sys/kernel/random/boot_id ]; then
  read -r boot_id < /proc/sys/kernel/random/boot_id
else
  boot_id=$(sysctl -n kern.bootsessionuuid 2>/dev/null) || boot_id=none
fi
`;

const DETACHED = `
# Becomes the program given, as the leader of a session of its own.
detached() {
  if command -v setsid >/dev/null; then exec setsid "$@"; fi
  if command -v perl >/dev/null; then
    exec perl -e "use POSIX; POSIX::setsid(); exec @ARGV; exit 127" "$@"
  fi
  exec "$@"
}
# Without either, job control at least gives it a process group.
command -v setsid >/dev/null || command -v perl >/dev/null || set -m 2>/dev/null
`;

/**
 * Reads the script from its input. Arguments: the supervisor's program, the script's length, its form, and its
 * interpreter. Prints started, alreadyStarted, incomplete or failed.
 */
export const START = `${COMMON}${DETACHED}
mask=$(umask)
umask 077
[ -d "$d" ] || mkdir -p "$d" || exit 73
if [ -e "$d/claim" ]; then echo alreadyStarted; exit 0; fi
# In memory where that can be had: even root finds nothing of it on the disk later.
top=$d
if [ -d /dev/shm ] && [ -w /dev/shm ]; then top=/dev/shm; fi
up=$top/shoes-vz.$$.$boot_id
discard() { rm -f "$up"; }
# Nobody else in a directory that all share makes the file, or points it elsewhere.
set -C
: > "$up" || exit 73
set +C
trap discard EXIT
trap "exit 1" HUP INT TERM PIPE
cat > "$up"
if [ $(($(wc -c < "$up"))) -ne "$2" ]; then echo incomplete; exit 0; fi
supervisor=$1
shift 2
# Ends when all who have descriptor 3 have closed it: the supervisor does when the script runs.
reply=$(
  exec 3>&1 >/dev/null 2>/dev/null </dev/null
  (detached /bin/sh -c "$supervisor" shoes-vz-setup "$up" "$mask" "$@") &
)
# From here on the supervisor sees to it.
[ -z "$reply" ] || trap - EXIT
echo "\${reply:-failed}"
`;

/**
 * Outlives the connection. Arguments: directory with the script, umask for it, form, interpreter. Tells
 * descriptor 3 when the script runs.
 */
export const SUPERVISE = `${COMMON}${DETACHED}
umask 077
up=$1 mask=$2 form=$3
shift 3

refuse() {
  echo "shoes-vz: $2" > "$d/out.00000000"
  echo "$1" > "$d/exit"
  rm -f "$up"
  echo started >&3
  exit 0
}

# Keeps the end of what comes in. dd hands on what it reads at once, and reads no more than it is told.
keep_end() {
  n=0
  while :; do
    piece=$d/out.$(printf %08d "$n")
    : > "$piece"
    while [ $(($(wc -c < "$piece"))) -lt 131072 ]; do
      said=$(LC_ALL=C dd bs=65536 count=32 2>&1 >> "$piece") || { cat >/dev/null; return; }
      # It says, among other things: 4+28 records in
      reads=\${said%% records in*}
      reads=\${reads##*[!0-9+]}
      full=\${reads%+*}
      [ $((full + \${reads#*+})) -eq 32 ] || return
      if [ "$full" -ge 2 ]; then break; fi
    done
    n=$((n + 1))
    rm -f "$d/out.$(printf %08d $((n - 2)))"
  done
}

[ -r "$up" ] || exit 0
exec 9< "$up"
look_up $$
set -C
(echo "$$ $started $boot_id" > "$d/claim") 2>/dev/null
lost=$?
set +C
if [ "$lost" -ne 0 ]; then
  rm -f "$up"
  if [ -e "$d/claim" ]; then echo alreadyStarted >&3; fi
  exit 0
fi

# The open file is all that is left of the script, but where an interpreter could not open it a second time.
script=/dev/fd/9
[ -e "$script" ] || script=/proc/self/fd/9
[ -e "$script" ] || script=$up
if [ "$form" = foreign ] && [ "$(uname -s)" = Darwin ]; then script=$up; fi
[ "$script" = "$up" ] || rm -f "$up"

if [ $# -eq 0 ]; then
  if command -v bash >/dev/null; then set -- bash; else set -- sh; fi
fi
case $1 in
*/*)
  case $1 in *[![:print:]]*) hint=" (the line ends as in Windows)" ;; *) hint= ;; esac
  [ -e "$1" ] || refuse 127 "the interpreter of the setup script was not found: $1$hint"
  [ -x "$1" ] || refuse 126 "the interpreter of the setup script cannot be executed: $1"
  ;;
esac

mkfifo "$d/alive" "$d/pipe" || refuse 126 "no named pipe can be made in $d"
exec 8<> "$d/alive"
(
  exec 3>&- 8>&- 9<&- < "$d/pipe" >/dev/null 2>&1
  keep_end
  : > "$d/drained"
) &
(
  exec 3>&- 8>&- </dev/null > "$d/pipe" 2>&1
  if [ "$script" = "$up" ]; then exec 9<&-; fi
  cd "$HOME" || exit 126
  umask "$mask"
  detached "$@" "$script"
) &
pid=$!
exec 9<&-
look_up "$pid"
echo "$pid $started" > "$d/pid"
if [ "$script" = "$up" ]; then
  (
    exec 3>&- 8>&- >/dev/null 2>&1
    sleep 30
    rm -f "$up"
  ) &
fi
echo started >&3
exec 3>&-

wait "$pid"
code=$?
[ "$script" != "$up" ] || rm -f "$up"
# The last words are on their way, unless a child that lives on holds the pipe open.
i=0
while [ ! -e "$d/drained" ] && [ "$i" -lt 25 ]; do
  sleep 0.02 2>/dev/null || { sleep 1; i=25; }
  i=$((i + 1))
done
echo "$code" > "$d/exit"
`;

const STATE = `${COMMON}
exec 2>/dev/null

supervised() { look_up "$1" && [ "$started" = "$2" ]; }

# Sets now to absent, incomplete, running with the pid, exited with the code, or vanished.
look() {
  now=absent
  [ -d "$d" ] || return
  now=incomplete
  [ -e "$d/claim" ] || return
  if read -r code < "$d/exit"; then now="exited $code"; return; fi
  i=0
  # The moments between claim and start.
  until { read -r sup sup_start boot < "$d/claim" && read -r pid pid_start < "$d/pid"; } || [ -s "$d/exit" ]; do
    if [ "$i" -ge 100 ]; then break; fi
    if [ -n "$boot" ] && { [ "$boot" != "$boot_id" ] || ! supervised "$sup" "$sup_start"; }; then break; fi
    sleep 0.05 || sleep 1
    i=$((i + 1))
  done
  now=vanished
  if [ "$boot" = "$boot_id" ]; then
    if supervised "$sup" "$sup_start" || supervised "$pid" "$pid_start"; then now="running \${pid:-$sup}"; fi
  fi
  # It may have ended while this looked.
  if read -r code < "$d/exit"; then now="exited $code"; fi
}
`;

/** Prints the state. Argument: how many seconds to wait for it to be another one than running; 0: not at all. */
export const OBSERVE = `${STATE}
look
case $now in
running*)
  if [ "$1" -gt 0 ]; then
    if [ -p "$d/alive" ] && supervised "$sup" "$sup_start"; then
      cat "$d/alive" >/dev/null &
      reader=$!
      (
        end() { kill "$nap"; exit 0; }
        nap=
        trap end TERM
        # Opening the pipe hangs where the supervisor ended just before.
        sleep 1 &
        nap=$!
        wait "$nap"
        if supervised "$sup" "$sup_start"; then
          sleep "$1" &
          nap=$!
          wait "$nap"
        fi
        kill "$reader"
      ) </dev/null >/dev/null &
      guard=$!
      wait "$reader"
      kill "$guard"
      look
    else
      waited=0
      while [ "$waited" -lt "$1" ]; do
        sleep 1
        look
        case $now in running*) ;; *) break ;; esac
        waited=$((waited + 1))
      done
    fi
  fi
  ;;
esac
echo "$now"
`;

/** Asks the script's process group to end, and ends it. Argument: seconds in between. Prints the state. */
export const KILL = `${STATE}
send() { kill -s "$1" -- "-$pid" || kill -s "$1" "$pid"; }
over() {
  tenths=$(($1 * 10))
  while [ "$tenths" -gt 0 ]; do
    look
    case $now in running*) ;; *) return 0 ;; esac
    sleep 0.1 || { sleep 1; tenths=$((tenths - 9)); }
    tenths=$((tenths - 1))
  done
  return 1
}
look
case $now in
running*)
  if supervised "$pid" "$pid_start"; then
    send TERM
    over "$1" || { send KILL; over 5; }
  else
    over 1
  fi
  look
  ;;
esac
echo "$now"
`;

/** Prints the end of the output after a line with the mark. Arguments: bytes, mark. */
export const TAIL = `
d=$HOME/.shoes-vz/setup
bytes=$1 mark=$2
i=0
while [ "$i" -lt 5 ]; do
  set -- "$d"/out.*
  while [ $# -gt 2 ]; do shift; done
  for newest in "$@"; do :; done
  # Gone already where much is written at this moment.
  if [ -e "$newest" ]; then break; fi
  i=$((i + 1))
done
echo "$mark"
cat "$@" 2>/dev/null | tail -c "$bytes"
`;
