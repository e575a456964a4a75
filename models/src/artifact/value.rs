use std::rc::Rc;

use super::{ALLOCATION_BYTES, Array, Dtype, Known, OverBudget, budget::Budget, numpy::Data};
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
    /// A class or function that is not on the list, or something made with one. It refuses the artifact in the end.
    Unknown,
}

impl Value {
    /// The bytes that the value takes beside its elements, texts and array data, which are charged as they come.
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
                Self::Global(_) | Self::Opaque | Self::Unknown => 0,
                Self::Str(_) | Self::Bytes(_) => ALLOCATION_BYTES,
                Self::Tuple(elements) => ALLOCATION_BYTES + size_of_val(&**elements),
                // Elements are charged when they are appended, with the room that a vector leaves.
                Self::List(_) | Self::Dict(_) => 2 * ALLOCATION_BYTES,
                Self::Object(_) => ALLOCATION_BYTES + size_of::<Object>(),
                Self::Dtype(_) => ALLOCATION_BYTES + size_of::<Dtype>(),
                Self::Array(array) => {
                    let elements = match &array.data {
                        Data::Objects(handles) => size_of_val(handles.as_slice()),
                        Data::Bytes(_) => 0,
                    };
                    3 * ALLOCATION_BYTES + size_of::<Array>() + size_of_val(array.shape.as_slice()) + elements
                }
                Self::Tree(_) => ALLOCATION_BYTES + size_of::<Tree>(),
            }
    }
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

/// All values of an artifact, and the budget for reading them.
#[derive(Debug)]
pub(crate) struct Graph {
    values: Vec<Value>,
    root: Handle,
    budget: Rc<Budget>,
}

impl Graph {
    pub(super) fn new(budget: Rc<Budget>) -> Self {
        Self { values: vec![Value::None], root: Handle(0), budget }
    }

    /// The budget for reading the values.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Adds a value.
    ///
    /// # Errors
    /// There are too many values, or they take too much memory.
    pub(super) fn push(&mut self, value: Value) -> Result<Handle, OverBudget> {
        let most = self.budget.limits().values;
        let handle = u32::try_from(self.values.len()).ok().filter(|count| (*count as usize) < most);
        let handle = handle.ok_or(OverBudget::Limit { limit: most as u64, what: "values" })?;
        self.budget.hold(value.bytes())?;
        self.values.push(value);
        Ok(Handle(handle))
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
    ///
    /// # Errors
    /// Each item that is looked at is a step, and there were too many.
    pub(crate) fn item(&self, dict: Handle, key: &str) -> Result<Option<Handle>, OverBudget> {
        let Value::Dict(items) = self.get(dict) else { return Ok(None) };
        // A key that was set twice has its last value, as in Python.
        let mut from_the_end = items.iter().rev();
        let found = from_the_end
            .by_ref()
            .find(|(known, _)| matches!(self.get(*known), Value::Str(text) if **text == *key));
        self.budget.spend(items.len() - from_the_end.len())?;
        Ok(found.map(|(_, value)| *value))
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
