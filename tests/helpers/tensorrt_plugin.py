"""A stand-in for the modules tensorrt and tensorrt.plugin: it keeps what is registered, and its sizes compute on numbers."""

from __future__ import annotations

import operator
from types import ModuleType, SimpleNamespace


class ShapeExpr:
    """A size that knows whether it is fixed, and computes on numbers."""

    def __init__(self, number, fixed=True, fake=False):
        self.number, self.is_constant, self.is_fake = number, fixed, fake

    def constant_value(self):
        assert self.is_constant and not self.is_fake
        return self.number

    def compute(self, other, on):
        fixed = not isinstance(other, ShapeExpr) or other.is_constant
        number = other.number if isinstance(other, ShapeExpr) else other
        return ShapeExpr(on(self.number, number), self.is_constant and fixed, self.is_fake)


for _name in ("add", "sub", "mul", "floordiv", "eq", "lt"):
    _on = getattr(operator, _name)
    setattr(ShapeExpr, f"__{_name}__", lambda a, b, on=_on: a.compute(b, lambda x, y: int(on(x, y))))


class TensorDesc:
    def __init__(self, shape_expr, dtype, shape=None):
        self.shape_expr, self.dtype, self.shape = shape_expr, dtype, shape


def stand_in(trt_version="10.13.3"):
    """A module tensorrt and its module tensorrt.plugin, which keeps what is registered."""
    trt, trtp = ModuleType("tensorrt"), ModuleType("tensorrt.plugin")
    trt.__version__, trt.QuickPluginCreationRequest, trt.plugin = trt_version, object, trtp
    trt.float32, trt.float16, trt.bfloat16, trt.int32 = "f32", "f16", "bf16", "i32"
    trtp.op, trtp.ShapeExpr, trtp.SymInt32, trtp.TensorDesc = (
        SimpleNamespace(),
        ShapeExpr,
        lambda size: size,
        TensorDesc,
    )
    trtp.AutoTuneCombination = type(
        "AutoTuneCombination", (), {"__init__": lambda self, *given: setattr(self, "given", given)}
    )
    trtp.KernelLaunchParams = type("KernelLaunchParams", (), {})
    trtp.SymIntExprs = type("SymIntExprs", (dict,), {"__init__": lambda self, length: dict.__init__(self)})
    trtp.from_shape_expr = TensorDesc
    trtp.cdiv = lambda a, b: a.compute(b, lambda x, y: -(-x // y))
    trtp.min, trtp.max = (lambda a, b, on=on: a.compute(b, on) for on in (min, max))

    def keep(what):
        def named(identity):
            def held(function):
                space, name = identity.split("::")
                if not hasattr(trtp.op, space):
                    setattr(trtp.op, space, SimpleNamespace())
                if what == "register_func":
                    assert not hasattr(getattr(trtp.op, space), name), "registered twice"
                    setattr(getattr(trtp.op, space), name, SimpleNamespace())
                setattr(getattr(getattr(trtp.op, space), name), what, function)
                return function

            return held

        return named

    trtp.register, trtp.autotune, trtp.aot_impl = map(keep, ("register_func", "tune", "start"))
    return trt
