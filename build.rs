//! Gives the shared library that cargo links its soname and, with feature `regen-header`, writes the C header.
//!
//! The header goes to the file that SIPWIRE_HEADER names, else to OUT_DIR: a build never edits the
//! source tree unasked, so read-only and vendored builds work. `make header` asks for
//! include/sipwire.h, and a test compares that with a fresh one.

// A build script ends with a message: that is what expect does.
#![allow(clippy::expect_used, clippy::panic)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The major version's. A break of the ABI below 1.0 has a node of its own in include/sipwire.map instead: a
    // program that was linked before does not start, and is told which version it misses.
    println!(
        "cargo::rustc-cdylib-link-arg=-Wl,-soname,libsipwire.so.{}",
        env!("CARGO_PKG_VERSION_MAJOR")
    );
    // Once std has started a thread the object cannot be unloaded (its thread-local destructors
    // live in it); nodelete makes that a promise instead of an accident.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Or a host that exports symbols, and has a sipwire_ of its own or of another version, would find that in
    // the plug-in's table instead of ours.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    #[cfg(feature = "regen-header")]
    header::write();
}

#[cfg(feature = "regen-header")]
mod header {
    use std::path::PathBuf;

    pub fn write() {
        println!("cargo::rerun-if-changed=src");
        println!("cargo::rerun-if-changed=include/cbindgen.toml");
        println!("cargo::rerun-if-changed=include/sipwire.map");
        println!("cargo::rerun-if-env-changed=SIPWIRE_HEADER");
        if let Ok(asked) = std::env::var("SIPWIRE_HEADER") {
            println!("cargo::rerun-if-changed={asked}"); // edited by hand, or another version of it
        }
        let source = env!("CARGO_MANIFEST_DIR");
        let mut config = cbindgen::Config::from_file(format!("{source}/include/cbindgen.toml"))
            .expect("include/cbindgen.toml");
        config.after_includes = config
            .after_includes
            .map(|text| format!("\n{}\n{}", version_macros(), text.trim()));
        let out = std::env::var_os("SIPWIRE_HEADER").map_or_else(
            || PathBuf::from(std::env::var_os("OUT_DIR").expect("OUT_DIR")).join("sipwire.h"),
            PathBuf::from,
        );
        let mut header = Vec::new();
        // Only src/ffi is read, its modules in the order of their list: cbindgen ignores visibility
        // and would publish the constants of the floors below.
        cbindgen::Builder::new()
            .with_src(format!("{source}/src/ffi/mod.rs"))
            .with_config(config)
            .generate()
            .expect("header from src/ffi")
            .write(&mut header);
        let header = String::from_utf8(header).expect("a header is text");
        // What Rust calls safety are the rules of the pointers.
        let header = header.replace(" * # Safety\n * ", " * Pointers: ");
        let exports = std::fs::read_to_string(format!("{source}/include/sipwire.map"))
            .expect("include/sipwire.map");
        std::fs::write(out, with_since(&header, &exports)).expect("header is written");
    }

    /// Since which version there is a function, the linker's version script says: one place for both.
    fn with_since(header: &str, exports: &str) -> String {
        let mut since = std::collections::HashMap::new();
        let mut version = "";
        for line in exports.lines().map(str::trim) {
            if let Some(name) = line.strip_suffix(" {") {
                version = name.trim_start_matches("SIPWIRE_");
            } else if let Some(function) = line.strip_suffix(';') {
                since.insert(function, version);
            }
        }
        let mut written = String::new();
        // The end of a comment waits for the line behind it: only a function's has a version.
        let mut lines = header.lines().peekable();
        while let Some(line) = lines.next() {
            let function = lines
                .peek()
                .filter(|_| line == " */")
                .and_then(|next| next.split_once('(')?.0.split([' ', '*']).next_back());
            if let Some(name) = function {
                let version = since.get(name).unwrap_or_else(|| {
                    panic!("include/sipwire.map lacks {name}: add it to the block of the version to come")
                });
                written += &format!(" * Since: {version}\n");
            }
            written += line;
            written.push('\n');
        }
        written
    }

    /// Cargo.toml is the only place that states the version.
    fn version_macros() -> String {
        let (major, minor, patch) = (
            env!("CARGO_PKG_VERSION_MAJOR"),
            env!("CARGO_PKG_VERSION_MINOR"),
            env!("CARGO_PKG_VERSION_PATCH"),
        );
        format!(
            r#"#define SIPWIRE_VERSION_MAJOR {major}
#define SIPWIRE_VERSION_MINOR {minor}
#define SIPWIRE_VERSION_PATCH {patch}
#define SIPWIRE_VERSION_STRING "{version}"
/** One number that grows with each version; sipwire_version_number() gives that of the library that runs. */
#define SIPWIRE_VERSION_NUMBER \
  ((SIPWIRE_VERSION_MAJOR << 16) | (SIPWIRE_VERSION_MINOR << 8) | SIPWIRE_VERSION_PATCH)
/** For #if: the header is of this version or a later one. */
#define SIPWIRE_AT_LEAST(major, minor, patch) \
  (SIPWIRE_VERSION_NUMBER >= (((major) << 16) | ((minor) << 8) | (patch)))
"#,
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}
