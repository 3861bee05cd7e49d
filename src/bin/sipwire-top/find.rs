//! Finding an instance from outside: by the memory that its processes have mapped.

use sipwire::runtime::picture::{self, Parts};
use sipwire::sys::Errno;
use sipwire::table::segment::{Foreign, Segment};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// An instance as one process has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub pid: u32,
    /// Of the process.
    pub name: String,
    /// Of the memory: processes of one instance have the same.
    pub inode: u64,
    /// Where it is mapped, as /proc/PID/map_files names it.
    range: String,
}

/// What the kernel calls the memory of an instance.
const MEMORY: &str = "/memfd:sipwire";

/// Mappings of instances among the lines of /proc/PID/maps, as (inode, range). Who only looks has it
/// mapped read-only, and is no part of the instance.
fn mapped(maps: &str) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for line in maps.lines() {
        // range, permissions, offset, device, inode, path
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(permissions)) = (words.next(), words.next()) else {
            continue;
        };
        let (Some(inode), Some(path)) = (words.nth(2), words.next()) else {
            continue;
        };
        if let Ok(inode) = inode.parse()
            && permissions.starts_with("rw-s")
            && path.starts_with(MEMORY)
        {
            found.entry(inode).or_insert_with(|| range.to_string());
        }
    }
    found
}

fn name_of(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    printable(name.trim_ascii_end())
}

/// A name may be any bytes, and goes to a terminal, in columns: no control sequence, nothing of double width.
fn printable(name: &[u8]) -> String {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~');
    let letters = name
        .iter()
        .map(|byte| char::from(if plain(byte) { *byte } else { b'?' }));
    if name.is_empty() {
        "?".to_string()
    } else {
        letters.collect()
    }
}

/// Also by what it was started as: the name of the process may have been changed, and is cut off.
fn is_named(pid: u32, wanted: &str) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = command.split(|&byte| byte == 0).next().unwrap_or_default();
    let base = first
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_ascii_end() == wanted.as_bytes() || base == wanted.as_bytes()
}

/// In the order of their numbers. It stays the same, but is not that in which they were made: each processor has
/// numbers of its own.
fn of_process(pid: u32) -> io::Result<Vec<Place>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let found = mapped(&String::from_utf8_lossy(&maps));
    Ok(found
        .into_iter()
        .map(|(inode, range)| Place {
            pid,
            name: name_of(pid),
            inode,
            range,
        })
        .collect())
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// Instances of these processes that we may look into, each with the first of its processes.
pub fn all(wanted: impl Fn(u32) -> bool) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    for pid in pids().into_iter().filter(|&pid| wanted(pid)) {
        for place in of_process(pid).unwrap_or_default() {
            if found.iter().all(|known| known.inode != place.inode) {
                found.push(place);
            }
        }
    }
    found
}

/// Where it listens: by that people know it.
fn addresses(place: &Place) -> String {
    let look = || attach(place).map(|segment| picture::take(&segment, None, Parts::default()));
    let Ok(Ok(picture)) = catch_unwind(AssertUnwindSafe(look)) else {
        return "not for this sipwire-top".to_string();
    };
    let listeners = picture.listeners.iter();
    let all: Vec<String> = listeners.map(|one| one.addr.to_string()).collect();
    match all.as_slice() {
        [] => "no listener".to_string(),
        all => all.join(" "),
    }
}

/// Lines about instances from which one is to be chosen.
pub fn listing(places: &[Place]) -> String {
    lines_about(places, addresses)
}

fn lines_about(places: &[Place], about: impl Fn(&Place) -> String) -> String {
    let mut lines = String::new();
    let mut before = (0, 0);
    for place in places {
        let number = if before.0 == place.pid {
            before.1 + 1
        } else {
            1
        };
        before = (place.pid, number);
        let several = places.iter().filter(|other| other.pid == place.pid).count() > 1;
        let choice = if several {
            format!("  --instance {number}")
        } else {
            String::new()
        };
        let where_to = about(place);
        lines += &format!("{:>8}  {}{choice}  {where_to}\n", place.pid, place.name);
    }
    lines
}

/// The one that is meant. The error is a line, and the instances to choose from if there are several.
pub fn find(target: Option<&str>, instance: Option<usize>) -> Result<Place, String> {
    let (places, none) = match target {
        None => (
            all(|_| true),
            "no instance of libsipwire that may be looked into runs here".to_string(),
        ),
        Some(target) => match target.parse::<u32>() {
            Ok(pid) => {
                let places = of_process(pid).map_err(|error| unreadable(pid, &error))?;
                let none = format!(
                    "process {pid} ({}) has no instance of libsipwire",
                    name_of(pid)
                );
                (places, none)
            }
            Err(_) => {
                let places = all(|pid| is_named(pid, target));
                let none = match pids().into_iter().find(|&pid| is_named(pid, target)) {
                    // Why not, of the first.
                    Some(pid) => match of_process(pid) {
                        Err(error) => unreadable(pid, &error),
                        Ok(_) => format!("process {pid} ({target}) has no instance of libsipwire"),
                    },
                    None => format!("there is no process named {target}"),
                };
                (places, none)
            }
        },
    };
    match (places.as_slice(), instance) {
        ([], _) => Err(none),
        ([place], None | Some(1)) => Ok(place.clone()),
        ([first, rest @ ..], Some(number)) if rest.iter().all(|other| other.pid == first.pid) => {
            let place = number.checked_sub(1).and_then(|index| places.get(index));
            place
                .cloned()
                .ok_or_else(|| format!("there is no instance {number}, but {}", places.len()))
        }
        (several, _) => Err(format!(
            "there are {} instances, choose one:\n{}",
            several.len(),
            listing(several).trim_end()
        )),
    }
}

fn user_of(process: &str) -> Option<String> {
    let status = fs::read(format!("/proc/{process}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective and others.
    line.split_whitespace().nth(1).map(str::to_string)
}

fn unreadable(pid: u32, error: &io::Error) -> String {
    // A process that is ending, or is somebody else's.
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no process {pid}"),
        io::ErrorKind::PermissionDenied => {
            let name = name_of(pid);
            // The kernel guards it then: what it read as another user may be in its memory.
            let who = if user_of(&pid.to_string()) == user_of("self") {
                "only root may, since it has changed its user"
            } else {
                "run this as its user or as root"
            };
            format!("process {pid} ({name}) may not be looked into: {who}")
        }
        _ if !Path::new(&format!("/proc/{pid}")).exists() => format!("there is no process {pid}"),
        _ => format!("process {pid} ({}): {error}", name_of(pid)),
    }
}

/// Its memory, opened to read. By a descriptor of the process; where it has none any more, by the mapping
/// itself, which the kernel lets root do.
fn memory(place: &Place) -> io::Result<File> {
    let folder = format!("/proc/{}", place.pid);
    for entry in fs::read_dir(format!("{folder}/fd"))?.flatten() {
        let path = entry.path();
        let is_memory = fs::read_link(&path).is_ok_and(|link| {
            let link = link.as_os_str().as_encoded_bytes();
            link.starts_with(MEMORY.as_bytes())
        });
        if !is_memory {
            continue;
        }
        // The process may have put something else there meanwhile, a pipe say, that would keep us waiting.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        if let Ok(file) = opened
            && file
                .metadata()
                .is_ok_and(|about| about.ino() == place.inode)
        {
            return Ok(file);
        }
    }
    File::open(format!("{folder}/map_files/{}", place.range))
}

/// The error is one line.
pub fn attach(place: &Place) -> Result<Segment, String> {
    let file = memory(place).map_err(|error| unreadable(place.pid, &error))?;
    let whose = format!("process {} ({})", place.pid, place.name);
    // The mapping stays when the descriptor is closed.
    Segment::view(file.as_raw_fd()).map_err(|foreign| match foreign {
        Foreign::NoSegment => format!("{whose}: its memory is no instance, or not yet one"),
        Foreign::Version(theirs) => format!(
            "{whose} has layout version {theirs}, this sipwire-top reads version {}: use the one that was built with its library",
            sipwire::shm::header::LAYOUT_VERSION
        ),
        Foreign::Layout => format!(
            "{whose} has another layout than this sipwire-top reads: use the one that was built with its library"
        ),
        Foreign::System(Errno::EPERM) => {
            format!("{whose}: the size of its memory is not sealed, so it is not looked into")
        }
        Foreign::System(errno) => format!("{whose}: its memory cannot be mapped: {errno}"),
    })
}

/// A process by number and time of its start: numbers are used again.
pub fn started(pid: u32) -> Option<String> {
    start_in(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// None: a zombie.
fn start_in(stat: &[u8]) -> Option<String> {
    // The name before may have blanks and brackets in it, and be no UTF-8.
    let stat = String::from_utf8_lossy(stat);
    let mut words = stat.rsplit(')').next()?.split_ascii_whitespace();
    let state = words.next()?;
    let start = words.nth(18)?;
    (!"ZX".contains(state)).then(|| start.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_an_instance_are_those_that_can_be_written() {
        let maps = "\
00400000-00401000 r-xp 00000000 08:01 5 /bin/answer
7f0000000000-7f0000001000 rw-s 00000000 00:01 93216                      /memfd:sipwire (deleted)
7f0000002000-7f0000003000 rw-s 00000000 00:01 77                         /memfd:sipwire-b (deleted)
7f0000004000-7f0000005000 r--s 00000000 00:01 78                         /memfd:sipwire (deleted)
7f0000006000-7f0000007000 rw-s 00000000 00:01 79                         /memfd:other (deleted)
7f0000008000-7f0000009000 rw-p 00000000 00:00 0
broken
";
        let found: Vec<_> = mapped(maps).into_iter().collect();
        let expected = [
            (77, "7f0000002000-7f0000003000".to_string()),
            (93216, "7f0000000000-7f0000001000".to_string()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        assert_eq!(printable(b"ans\xff\xe4\xb8\xad\x1b[H r"), "ans?????[H r");
        assert_eq!(printable(b""), "?");
        let stat = |name: &[u8], state: &[u8]| {
            let behind = b" 1 5 5 0 -1 4194304 280 0 0 0 0 0 0 0 39 19 3 0 242906 31826 39";
            [b"7 (", name, b") ", state, behind].concat()
        };
        for name in [&b"answer"[..], b"a b) R 1", b"\xff\xe4"] {
            let start = start_in(&stat(name, b"S"));
            assert_eq!(start.as_deref(), Some("242906"));
            assert_eq!(start_in(&stat(name, b"Z")), None);
        }
        assert_eq!(start_in(b""), None);
    }

    #[test]
    fn several_of_one_process_are_numbered() {
        let place = |pid, inode| Place {
            pid,
            name: "answer".to_string(),
            inode,
            range: String::new(),
        };
        assert_eq!(
            lines_about(&[place(7, 1), place(7, 2), place(9, 3)], |place| format!(
                "at {}",
                place.inode
            )),
            "       7  answer  --instance 1  at 1\n       7  answer  --instance 2  at 2\n       9  answer  at 3\n"
        );
    }
}
