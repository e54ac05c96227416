//! XPC dictionaries: how the framework is told what an interface shall be, and tells what it is.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use super::copy;

unsafe extern "C" {
    fn xpc_dictionary_create(
        keys: *const *const c_char,
        values: *const *mut c_void,
        count: usize,
    ) -> *mut c_void;
    fn xpc_dictionary_set_bool(dictionary: *mut c_void, key: *const c_char, value: bool);
    fn xpc_dictionary_set_uint64(dictionary: *mut c_void, key: *const c_char, value: u64);
    fn xpc_dictionary_set_string(dictionary: *mut c_void, key: *const c_char, value: *const c_char);
    fn xpc_dictionary_set_uuid(dictionary: *mut c_void, key: *const c_char, value: *const u8);
    fn xpc_dictionary_get_uint64(dictionary: *mut c_void, key: *const c_char) -> u64;
    fn xpc_dictionary_get_string(dictionary: *mut c_void, key: *const c_char) -> *const c_char;
    fn xpc_array_get_count(array: *mut c_void) -> usize;
    fn xpc_array_get_string(array: *mut c_void, index: usize) -> *const c_char;
    fn xpc_release(object: *mut c_void);
}

/// A dictionary of ours.
#[derive(Debug)]
pub(super) struct Dictionary(*mut c_void);

impl Dictionary {
    pub(super) fn new() -> Self {
        // SAFETY: no keys and no values.
        Self(unsafe { xpc_dictionary_create(ptr::null(), ptr::null(), 0) })
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.0
    }

    /// # Safety
    /// `key` is a C string.
    pub(super) unsafe fn set_bool(&mut self, key: *const c_char, value: bool) {
        // SAFETY: the dictionary is ours; the key is what the caller says.
        unsafe { xpc_dictionary_set_bool(self.0, key, value) };
    }

    /// # Safety
    /// `key` is a C string.
    pub(super) unsafe fn set_number(&mut self, key: *const c_char, value: u64) {
        // SAFETY: the dictionary is ours; the key is what the caller says.
        unsafe { xpc_dictionary_set_uint64(self.0, key, value) };
    }

    /// # Safety
    /// `key` is a C string.
    pub(super) unsafe fn set_text(&mut self, key: *const c_char, value: &str) {
        // Options were checked: there is no NUL in them.
        let value = CString::new(value).unwrap_or_default();
        // SAFETY: the dictionary is ours and copies the value; the key is what the caller says.
        unsafe { xpc_dictionary_set_string(self.0, key, value.as_ptr()) };
    }

    /// # Safety
    /// `key` is a C string.
    pub(super) unsafe fn set_uuid(&mut self, key: *const c_char, value: [u8; 16]) {
        // SAFETY: the dictionary is ours and copies 16 bytes; the key is what the caller says.
        unsafe { xpc_dictionary_set_uuid(self.0, key, value.as_ptr()) };
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: made by `xpc_dictionary_create`, and released once.
        unsafe { xpc_release(self.0) };
    }
}

/// A number; 0 when there is none of this key, or something else.
///
/// # Safety
/// `dictionary` is null or a dictionary, and `key` is a C string.
pub(super) unsafe fn number(dictionary: *mut c_void, key: *const c_char) -> u64 {
    if dictionary.is_null() {
        return 0;
    }
    // SAFETY: by the contract of this function.
    unsafe { xpc_dictionary_get_uint64(dictionary, key) }
}

/// A text; `None` when there is none of this key, or something else.
///
/// # Safety
/// `dictionary` is a dictionary, and `key` is a C string.
pub(super) unsafe fn text(dictionary: *mut c_void, key: *const c_char) -> Option<String> {
    // SAFETY: by the contract of this function; the text lives as long as the dictionary.
    unsafe { copy(xpc_dictionary_get_string(dictionary, key)) }
}

/// The texts of an array, which is released; none when it is null.
pub(super) fn take_strings(array: *mut c_void) -> Vec<String> {
    if array.is_null() {
        return Vec::new();
    }
    // SAFETY: it is an array.
    let count = unsafe { xpc_array_get_count(array) };
    // SAFETY: the index is below the count, and the text lives as long as the array.
    let strings = (0..count).filter_map(|index| unsafe { copy(xpc_array_get_string(array, index)) });
    let strings = strings.collect();
    // SAFETY: it was made for us, and nothing of it is left.
    unsafe { xpc_release(array) };
    strings
}
