//! Gives the shared library its soname and, with feature `regen-header`, writes the C header.
//!
//! The header goes to the file that SIPWIRE_HEADER names, else to OUT_DIR: a build never edits the
//! source tree unasked, so read-only and vendored builds work. `make header` asks for
//! include/sipwire.h, and a test compares that with a fresh one.

// A build script ends with a message: that is what expect does.
#![allow(clippy::expect_used)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // While the major version is 0 the soname stays .so.0 and is bumped for each break of the ABI.
    println!(
        "cargo::rustc-cdylib-link-arg=-Wl,-soname,libsipwire.so.{}",
        env!("CARGO_PKG_VERSION_MAJOR")
    );
    // Once std has started a thread the object cannot be unloaded (its thread-local destructors
    // live in it); nodelete makes that a promise instead of an accident.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    #[cfg(feature = "regen-header")]
    header::write();
}

#[cfg(feature = "regen-header")]
mod header {
    use std::path::PathBuf;

    pub fn write() {
        println!("cargo::rerun-if-changed=src");
        println!("cargo::rerun-if-changed=include/cbindgen.toml");
        println!("cargo::rerun-if-env-changed=SIPWIRE_HEADER");
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
        std::fs::write(out, header).expect("header is written");
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
