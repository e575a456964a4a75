use super::{Array, Dtype, Known};
use crate::tree::Tree;

/// The place of a value in a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle(u32);

/// What a pickle describes. Values refer to each other by [`Handle`], so that cycles and sharing cost nothing.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Box<str>),
    Bytes(Vec<u8>),
    Tuple(Box<[Handle]>),
    /// A list, set or frozenset.
    List(Vec<Handle>),
    Dict(Vec<(Handle, Handle)>),
    Global(&'static Known),
    Object(Box<Object>),
    Dtype(Box<Dtype>),
    Array(Box<Array>),
    Tree(Box<Tree>),
    /// A whole number of more than 64 bits, an array's bytes that the array has taken over, and the like: present,
    /// but of no use to anything that is understood.
    Opaque,
}

/// An instance of a class on the list: never constructed, only described.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) class: &'static Known,
    /// What it was built from.
    pub(crate) arguments: Handle,
    /// What `__setstate__` would have been given.
    pub(crate) state: Option<Handle>,
}

/// All values of an artifact.
#[derive(Debug)]
pub(crate) struct Graph {
    values: Vec<Value>,
    root: Handle,
}

impl Graph {
    pub(super) fn new() -> Self {
        Self { values: vec![Value::None], root: Handle(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds a value. The machine's limit keeps the number of values far below 2³².
    pub(super) fn push(&mut self, value: Value) -> Handle {
        let handle = Handle(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(value);
        handle
    }

    pub(super) fn set_root(&mut self, root: Handle) {
        self.root = root;
    }

    pub(crate) fn root(&self) -> Handle {
        self.root
    }

    pub(crate) fn get(&self, handle: Handle) -> &Value {
        self.values.get(handle.0 as usize).unwrap_or(&Value::Opaque)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Value> {
        self.values.get_mut(handle.0 as usize)
    }

    /// Takes a value out of the graph, where it is of no further use.
    pub(crate) fn take(&mut self, handle: Handle) -> Value {
        self.get_mut(handle).map_or(Value::Opaque, |value| std::mem::replace(value, Value::Opaque))
    }

    /// The value of a text key in a dict.
    pub(crate) fn item(&self, dict: Handle, key: &str) -> Option<Handle> {
        let Value::Dict(items) = self.get(dict) else { return None };
        // A key that was set twice has its last value, as in Python.
        let found = items
            .iter()
            .rev()
            .find(|(known, _)| matches!(self.get(*known), Value::Str(text) if **text == *key));
        found.map(|(_, value)| *value)
    }

    pub(crate) fn str(&self, handle: Handle) -> Option<&str> {
        match self.get(handle) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, handle: Handle) -> Option<i64> {
        match self.get(handle) {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub(crate) fn elements(&self, handle: Handle) -> Option<&[Handle]> {
        match self.get(handle) {
            Value::Tuple(elements) => Some(elements),
            Value::List(elements) => Some(elements),
            _ => None,
        }
    }
}
