//! `counted NAME COUNT` does one operation so often, and nothing else: what it costs in instructions is the
//! difference between two counts under callgrind. Without arguments: the names.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)] // a program

mod operations;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match arguments.as_slice() {
        [] => operations::all()
            .iter()
            .for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let all = operations::all();
            let make = all.iter().find(|(known, _)| known == name);
            let (Some((_, make)), Ok(count)) = (make, count.parse::<u32>()) else {
                eprintln!("counted: there is no {name}, or {count} is no number");
                std::process::exit(2);
            };
            let mut operation = make();
            (0..count).for_each(|_| operation());
        }
        _ => {
            eprintln!("usage: counted [NAME COUNT]");
            std::process::exit(2);
        }
    }
}
