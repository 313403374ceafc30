// SPDX-License-Identifier: MIT

//! Rust's validator as a library for bench/utf8.c.

/// # Safety
/// `text` points to `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn is_valid_utf8(text: *const u8, len: usize) -> bool {
    std::str::from_utf8(std::slice::from_raw_parts(text, len)).is_ok()
}
