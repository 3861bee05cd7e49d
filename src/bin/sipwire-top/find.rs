//! Finding an instance from outside: by the memory that its processes have mapped.

use sipwire::sys::Errno;
use sipwire::table::segment::{Foreign, Segment};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
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
    let name = String::from_utf8_lossy(&name);
    // It goes to a terminal.
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        "?".to_string()
    } else {
        name
    }
}

/// Also by what it was started as: the name of the process may have been changed, and is cut off.
fn is_named(pid: u32, wanted: &str) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = command.split(|&byte| byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let base = first.rsplit('/').next().unwrap_or_default();
    name_of(pid) == wanted || base == wanted
}

/// In the order of their numbers, which is that in which they were made.
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

/// Lines about instances from which one is to be chosen.
pub fn listing(places: &[Place]) -> String {
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
        lines += &format!("{:>8}  {}{choice}\n", place.pid, place.name);
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

fn unreadable(pid: u32, error: &io::Error) -> String {
    // A process that is ending, or is somebody else's.
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no process {pid}"),
        io::ErrorKind::PermissionDenied => format!(
            "process {pid} ({}) may not be looked into: run this as its user or as root",
            name_of(pid)
        ),
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
        if is_memory && fs::metadata(&path).is_ok_and(|about| about.ino() == place.inode) {
            return File::open(&path);
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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have blanks and brackets in it.
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
    fn several_of_one_process_are_numbered() {
        let place = |pid, inode| Place {
            pid,
            name: "answer".to_string(),
            inode,
            range: String::new(),
        };
        assert_eq!(
            listing(&[place(7, 1), place(7, 2), place(9, 3)]),
            "       7  answer  --instance 1\n       7  answer  --instance 2\n       9  answer\n"
        );
    }
}
