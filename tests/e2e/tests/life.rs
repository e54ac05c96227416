//! Machines that are saved, go back, stand still and go on.
//!
//! Three micro guests pass numbers round. The first writes a number down on its disk, sends it to the second, that one to the third, and so
//! back to the first, which only then begins with the next. Each notes a number that is not the one that has to come, so machines that
//! were not saved at one instant soon say so, or hear nothing any more: their TCP connections are never made anew.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Cluster, Kit, PATIENCE, stand_in};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const MACHINES: [&str; 3] = ["a", "b", "c"];

/// Writes a number to its place on the disk, through to the medium, then to memory.
const KEEP: &str = r#"
keep() { printf '%8d' "$1" | dd of=/dev/vda bs=8 seek="$1" conv=notrunc,fsync 2>/dev/null; echo "$1" >/run/count; }
follow() {
    until nc "$1" 9000 <&3; do sleep 1; done | while read -r i; do
        [ "$i" = $(( $(cat /run/count) + 1 )) ] || echo "$i" >>/run/wrong
        keep "$i"
        echo "$i"
    done
}
echo 0 >/run/count
mkfifo /run/open
exec 3<>/run/open
"#;

/// Tells how far it is and whether all that is on the disk is what was written, past the guest's own cache.
const LOOK: &str = r#"until c=$(cat /run/count) && [ "$c" ]; do :; done; sync; echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=8 skip=1 count=$c 2>/dev/null | awk -v c=$c '{ for (i = 1; i <= c; i++) if (substr($0, i * 8 - 7, 8) + 0 != i) { print "torn"; exit } }'
cat /run/wrong 2>/dev/null; [ -e /run/later ] && echo later in memory
[ "$(dd if=/dev/vda bs=1M skip=7 count=1 2>/dev/null | head -c 5)" = later ] && echo later on disk; echo "count $c""#;

/// Leaves marks in memory and on the disk, which a machine that went back does not have.
const MARK: &str =
    r"touch /run/later; printf later | dd of=/dev/vda bs=1M seek=7 conv=notrunc,fsync 2>/dev/null";

/// Begins with a number when the last one has come back.
const FIRST: &str = r#"
mkfifo /run/back
exec 4<>/run/back
(until nc c 9000 <&3; do sleep 1; done >&4) &
(i=0; while :; do
    i=$((i + 1))
    keep $i
    echo $i
    read -r back <&4
    [ "$back" = $i ] || echo "$back" >>/run/wrong
done | nc -l -p 9000) &"#;

fn file(kit: &Kit) -> String {
    let machine = |script: &str| {
        let script = format!("{KEEP}{script}\n{}", stand_in::SHELL);
        format!("{{image: ./blank.raw, {}}}", kit.scripted_machine(&script))
    };
    format!(
        "defaults: {{accel: tcg, memory: 96M, arch: x86_64}}\nmachines:\n  a: {}\n  b: {}\n  c: {}\n",
        machine(FIRST),
        machine("(follow a | nc -l -p 9000) &"),
        machine("(follow b | nc -l -p 9000) &"),
    )
}

/// Exit status, what was said on standard output, and on standard error.
fn run(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = stand_in::command(cluster, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> (String, String) {
    let (status, stdout, stderr) = run(cluster, arguments);
    assert_eq!(status, Some(0), "atoll {}: {stderr}", arguments.join(" "));
    (stdout, stderr)
}

/// What a command in a machine wrote, once it could be run.
fn inside(cluster: &Cluster, machine: &str, command: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, stdout, stderr) = run(cluster, &["ssh", machine, "--", command]);
        if status == Some(0) {
            return stdout;
        }
        assert!(Instant::now() < deadline, "{machine}: {stderr}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// How far a machine is; whatever is wrong with it is a failure.
fn count(cluster: &Cluster, machine: &str) -> u32 {
    let told = inside(cluster, machine, LOOK);
    let count = told
        .trim()
        .strip_prefix("count ")
        .and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("machine {machine}: {told}"))
}

/// Waits until the last of the chain is at least this far.
fn wait_for(cluster: &Cluster, wanted: u32) -> [u32; 3] {
    let deadline = Instant::now() + PATIENCE;
    while count(cluster, "c") < wanted {
        assert!(Instant::now() < deadline, "the guests stand still");
    }
    MACHINES.map(|machine| count(cluster, machine))
}

fn state(cluster: &Cluster) -> serde_json::Value {
    serde_json::from_str(&ok(cluster, &["status", "--json"]).0).unwrap()
}

fn states(cluster: &Cluster) -> Vec<String> {
    let status = state(cluster);
    let machines = status["machines"].as_array().unwrap().iter();
    machines
        .map(|it| it["state"].as_str().unwrap().to_owned())
        .collect()
}

fn snapshots(cluster: &Cluster) -> Vec<String> {
    let listed = ok(cluster, &["snapshot", "ls", "--json"]).0;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn machines_under_load_go_back_to_one_instant_stand_still_and_go_on() {
    let Some(kit) = Kit::find() else { return };
    let cluster = Cluster::of(kit, &file(kit));
    stand_in::install(&cluster);
    fs::File::create(cluster.folder().join("demo/blank.raw"))
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let _ = ok(&cluster, &["up"]);
    let before = wait_for(&cluster, 3);

    let _ = ok(&cluster, &["snapshot", "create", "base"]);
    assert_eq!(snapshots(&cluster), ["base"]);
    let _ = wait_for(&cluster, before[0] + 2);
    for machine in MACHINES {
        inside(&cluster, machine, MARK);
        assert!(inside(&cluster, machine, LOOK).starts_with("later in memory\nlater on disk\ncount "));
    }
    a_snapshot_whose_daemon_is_killed_leaves_nothing(&cluster);

    let (status, _, said) = run(&cluster, &["snapshot", "restore", "base"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("loses what has happened since on a, b, c") && said.contains("--discard"),
        "{said}"
    );
    let _ = ok(&cluster, &["snapshot", "restore", "--discard", "base"]);
    // They go on at once, so that the last of them is looked at first: it may not be further than what it follows.
    let [c, b, a] = ["c", "b", "a"].map(|machine| count(&cluster, machine));
    assert!(before[2] <= c && c <= b && b <= a, "{before:?} {a} {b} {c}");
    let far = wait_for(&cluster, a + 2);

    suspended_machines_need_no_process(&cluster);
    let (_, said) = ok(&cluster, &["resume"]);
    assert!(said.contains("3 machines resumed"), "{said}");
    assert!(said.contains("behind, and is set"), "{said}");
    assert!(count(&cluster, "c") >= far[2]);
    let resumed = wait_for(&cluster, far[0] + 2);

    let _ = ok(&cluster, &["pause", "a"]);
    assert_eq!(states(&cluster), ["paused", "ready", "ready"]);
    let _ = ok(&cluster, &["up"]);
    let _ = wait_for(&cluster, resumed[0] + 2);
    let _ = ok(&cluster, &["snapshot", "rm", "base"]);
    assert_eq!(snapshots(&cluster), [""; 0]);
    assert_eq!(states_of_disk(&cluster, "a"), 0);
}

fn folder(cluster: &Cluster) -> PathBuf {
    PathBuf::from(state(cluster)["state"].as_str().unwrap())
}

/// How many states a machine's disk has inside.
fn states_of_disk(cluster: &Cluster, machine: &str) -> usize {
    let disk = folder(cluster).join("machines").join(machine).join("disk.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["info", "-U", "--output=json"]).arg(disk);
    let told: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    told["snapshots"].as_array().map_or(0, Vec::len)
}

/// Waits for the end of a process that was killed, with all its threads: its socket answers as long.
fn wait_gone(pid: &str) {
    let runs = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        !(state.is_empty() || state.starts_with(['Z', 'X']))
    };
    let tasks = || fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let deadline = Instant::now() + PATIENCE;
    while tasks().flatten().any(runs) {
        assert!(Instant::now() < deadline, "the daemon does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Killed while memory is written: the next daemon lets the machines go on, and takes away what there is of the snapshot.
fn a_snapshot_whose_daemon_is_killed_leaves_nothing(cluster: &Cluster) {
    let snapshots_folder = folder(cluster).join("snapshots");
    let daemon = state(cluster)["daemon"].as_i64().unwrap().to_string();
    let mut taking = stand_in::command(cluster, &["snapshot", "create", "never"]);
    let mut taking = taking.stderr(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let is_begun = || {
        let entries = fs::read_dir(&snapshots_folder).unwrap().flatten();
        let mut folders = entries.filter(|it| it.file_name().to_string_lossy().starts_with(".new-"));
        folders.any(|it| it.path().join("a/memory").exists())
    };
    while !is_begun() {
        assert!(Instant::now() < deadline, "no snapshot is being taken");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(
        Command::new("kill")
            .args(["-KILL", &daemon])
            .status()
            .unwrap()
            .success()
    );
    taking.wait().unwrap();
    wait_gone(&daemon);
    // Whatever reaches the next daemon.
    assert_eq!(states(cluster), ["ready", "ready", "ready"]);
    assert_eq!(snapshots(cluster), ["base"]);
    assert_eq!(fs::read_dir(&snapshots_folder).unwrap().count(), 1);
    assert_eq!(states_of_disk(cluster, "a"), 1);
    let far = raw_count(cluster, "a");
    let deadline = Instant::now() + PATIENCE;
    while raw_count(cluster, "c") <= far {
        assert!(Instant::now() < deadline, "the guests do not go on");
    }
    let _ = ok(cluster, &["up"]);
    let _ = ok(cluster, &["snapshot", "create", "another"]);
    assert_eq!(snapshots(cluster), ["base", "another"]);
    assert_eq!(states_of_disk(cluster, "a"), 2);
    let _ = ok(cluster, &["snapshot", "rm", "another"]);
}

/// How far a machine is, which has marks.
fn raw_count(cluster: &Cluster, machine: &str) -> u32 {
    let told = inside(
        cluster,
        machine,
        "until c=$(cat /run/count) && [ $c ]; do :; done; echo $c",
    );
    told.trim().parse().unwrap()
}

fn suspended_machines_need_no_process(cluster: &Cluster) {
    let (_, said) = ok(cluster, &["suspend"]);
    assert!(said.contains("3 machines suspended"), "{said}");
    assert_eq!(states(cluster), ["suspended", "suspended", "suspended"]);
    let status = state(cluster);
    let machines = status["machines"].as_array().unwrap();
    assert!(
        machines.iter().all(|it| it["pid"].is_null()) && status["daemon"].is_null(),
        "{status:#}"
    );
    let memory = folder(cluster).join("machines/a/memory");
    assert!(memory.exists());
    let (stdout, _) = ok(cluster, &["plan"]);
    assert!(stdout.contains("a: resume where it stands still"), "{stdout}");
    // Long enough for clocks to be told to be behind.
    thread::sleep(Duration::from_millis(2100));
}
