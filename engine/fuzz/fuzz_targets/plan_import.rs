//! Any bytes are a plan or are refused, and a plan that is taken is a sound seat map.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_engine::plan;

fuzz_target!(|data: &[u8]| {
    if let Ok(map) = plan::import(data) {
        map.check().expect("an imported map keeps every rule");
    }
});
