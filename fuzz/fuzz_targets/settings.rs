//! Settings: any text is taken and shown again as text that gives the same value, or refused in one line
//! with nothing changed.
//!
//! Input: lines `key = value`, as a host's configuration has them; a line without `=` is read as addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipwire::pure::addr::{self, Addr};
use sipwire::pure::settings::{SettingError, Settings};

/// More lines find nothing that these do not, and each refusal compares its word with all there are.
const LINES: usize = 8;
/// No hint of a setting is longer than this, whatever was typed.
const LINE_MAX: usize = 1_000;

fn check_line(error: &SettingError) {
    let line = error.to_string();
    assert!(
        !line.is_empty() && line.len() <= LINE_MAX,
        "{} bytes: {line:?}",
        line.len()
    );
    assert!(!line.chars().any(char::is_control), "{line:?}");
    if let SettingError::UnknownKey { nearest, .. } = error {
        assert!(
            Settings::new(1).get(nearest).is_ok(),
            "suggests {nearest:?}"
        );
    }
}

fn set(settings: &mut Settings, key: &str, value: &str) {
    let before = settings.clone();
    match settings.set(key, value) {
        Ok(()) => {
            let shown = settings.get(key).expect("what was set can be shown");
            let mut again = before;
            again.set(key, &shown).expect("what is shown is taken");
            assert_eq!(again, *settings, "{key} = {value:?} is shown as {shown:?}");
        }
        Err(error) => {
            check_line(&error);
            assert_eq!(*settings, before, "changed by {error}");
            if matches!(error, SettingError::UnknownKey { .. }) {
                return;
            }
        }
    }
    if let Ok(number) = value.trim().parse() {
        let before = settings.clone();
        if let Err(error) = settings.set_number(key, number) {
            check_line(&error);
            assert_eq!(*settings, before, "changed by {error}");
        }
    }
    // The same while running: what cannot be changed is not, and all that can be goes through the words.
    let before = settings.clone();
    match settings.set_live(key, value) {
        Ok(()) => assert_eq!(Settings::is_live(key), Ok(true)),
        Err(error) => {
            check_line(&error);
            assert_eq!(*settings, before, "changed by {error}");
        }
    }
    let mut copy = settings.clone();
    copy.apply_live_words(settings.live_words());
    assert_eq!(copy, *settings);
}

fn check_addresses(text: &str) {
    if let Some(addr) = Addr::parse(text) {
        assert_eq!(Addr::parse(&addr.to_string()), Some(addr), "{addr}");
        assert_eq!(Addr::from_words(addr.to_words()), addr);
        assert_eq!(addr.to_std().map(Addr::from_std), Some(addr));
    }
    match addr::parse_listen(text) {
        Ok(addr) => assert_eq!(addr::parse_listen(&format!("tcp:{addr}")), Ok(addr)),
        Err(line) => assert!(
            !line.chars().any(char::is_control) && line.len() <= LINE_MAX,
            "{line:?}"
        ),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut settings = Settings::new(2);
    for line in text.split('\n').take(LINES) {
        match line.split_once('=') {
            Some((key, value)) => set(&mut settings, key, value),
            None => check_addresses(line),
        }
    }
    if let Err(error) = settings.check() {
        check_line(&error);
    }
});
