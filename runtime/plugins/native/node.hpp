// One node of a network: an op of the table with the values of its attributes. From the shapes and types that TensorRT gives
// to the kernel that is launched, its grid and its scalars; what OpSchema.bind and chosen of runtime/plugins/schema.py do.

#pragma once

#include "table.hpp"

#include <NvInferRuntime.h>

#include <limits>
#include <utility>

namespace edgesmith {

[[noreturn]] inline void fail(std::string const& why) { throw std::runtime_error(why); }

inline nvinfer1::DataType dataType(Type type) {
    switch (type) {
    case Type::kFloat16: return nvinfer1::DataType::kHALF;
    case Type::kBFloat16: return nvinfer1::DataType::kBF16;
    case Type::kInt32: return nvinfer1::DataType::kINT32;
    default: return nvinfer1::DataType::kFLOAT;
    }
}

// Which type T is when a tensor has this one; kT when there is none.
inline Type typeOf(nvinfer1::DataType type) {
    for (Type known : {Type::kFloat32, Type::kFloat16, Type::kBFloat16})
        if (dataType(known) == type) return known;
    return Type::kT;
}

// A launch with everything evaluated.
struct Ready {
    Launch const* launch;
    std::array<std::uint32_t, 3> grid;
    std::array<std::int32_t, kMaxArguments> scalars;
};

class Node {
public:
    using Names = std::array<std::int64_t, kMaxNames>;
    using Descs = nvinfer1::PluginTensorDesc const*;

    // `values`: one number an attribute, a float as the bits of its float32. The table outlives every node.
    Node(OpTable const& op, std::vector<std::int32_t> values) : op_(op), values_(std::move(values)) {}

    OpTable const& op() const { return op_; }
    std::vector<std::int32_t> const& values() const { return values_; }

    void checkCounts(std::int32_t inputs, std::int32_t outputs) const {
        if (static_cast<std::size_t>(inputs) != op_.inputs.size() || static_cast<std::size_t>(outputs) != op_.outputs.size())
            fail("takes " + std::to_string(op_.inputs.size()) + " inputs and gives " + std::to_string(op_.outputs.size()) +
                 " outputs, found " + std::to_string(inputs) + " and " + std::to_string(outputs));
    }

    static void checkRank(Tensor const& tensor, std::int32_t found) {
        if (static_cast<std::size_t>(found) != tensor.shape.size())
            fail(tensor.name + " has " + std::to_string(tensor.shape.size()) + " axes, found " + std::to_string(found));
    }

    // Numbers for all names; fails when a shape is not the table's.
    Names bind(Descs in) const {
        Names names{};
        std::array<bool, kMaxNames> bound{};
        for (std::size_t i = 0; i < values_.size(); ++i) names[i] = values_[i], bound[i] = true;
        for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
            checkRank(op_.inputs[i], in[i].dims.nbDims);
            for (std::size_t axis = 0; axis < op_.inputs[i].shape.size(); ++axis) {
                auto const name = op_.inputs[i].shape[axis].bareName();
                if (name && !bound[*name]) names[*name] = in[i].dims.d[axis], bound[*name] = true;
            }
        }
        for (std::size_t i = 0; i < op_.inputs.size(); ++i) checkShape(op_.inputs[i], in[i].dims, names);
        return names;
    }

    bool fits(Launch const& launch, Descs in, Names const& names) const {
        auto const deciding = op_.deciding();
        // an op without a T is compiled for one type, whatever the table calls it
        bool const rightType = launch.type == (deciding ? typeOf(in[*deciding].type) : op_.launches.front().type);
        return rightType && launch.when.value(Integers{names}) != 0;
    }

    // Kernel `tactic`, counted from 1, or the first that fits when it is 0; fails when it is not for these inputs.
    Launch const& chosen(Descs in, Names const& names, std::int32_t tactic) const {
        if (tactic != 0) {
            Launch const& launch = op_.launches.at(static_cast<std::size_t>(tactic) - 1);
            if (!fits(launch, in, names)) fail("the kernel that was timed for this engine is not for these sizes and types");
            return launch;
        }
        for (Launch const& launch : op_.launches)
            if (fits(launch, in, names)) return launch;
        noKernel(in);
    }

    // Everything a launch needs; empty when the outputs have no elements. Fails when a number does not fit.
    std::optional<Ready> ready(Descs in, Descs out, std::int32_t tactic) const {
        Names const names = bind(in);
        Ready made{&chosen(in, names, tactic), {}, {}};
        if (!checkOutputs(out, names)) return {};
        constexpr std::array<std::uint32_t, 3> kMostPrograms{0x7fffffff, 0xffff, 0xffff};
        for (std::size_t i = 0; i < made.grid.size(); ++i)
            made.grid[i] = inRange<std::uint32_t>(made.launch->grid[i], names, 1, kMostPrograms[i]);
        for (std::size_t i = 0; i < made.launch->scalars.size(); ++i)
            made.scalars[i] = inRange<std::int32_t>(made.launch->scalars[i], names,
                std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max());
        return made;
    }

    [[noreturn]] void noKernel(Descs in) const {
        std::string found = "no kernel for";
        for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
            found += " " + op_.inputs[i].name + " (";
            for (std::int32_t axis = 0; axis < in[i].dims.nbDims; ++axis)
                found += (axis == 0 ? "" : ", ") + std::to_string(in[i].dims.d[axis]);
            found += ')';
        }
        auto const deciding = op_.deciding();
        fail(found + (deciding ? std::string(", T = ") + nameOf(typeOf(in[*deciding].type)) : ""));
    }

private:
    static void checkShape(Tensor const& tensor, nvinfer1::Dims const& found, Names const& names) {
        checkRank(tensor, found.nbDims);
        for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
            auto const wanted = tensor.shape[axis].value(Integers{names});
            if (wanted != found.d[axis])
                fail("axis " + std::to_string(axis) + " of " + tensor.name + " is " + tensor.shape[axis].text() + " = " +
                     std::to_string(wanted) + ", found " + std::to_string(found.d[axis]));
        }
    }

    // Whether the outputs, which are to be as the table says, hold anything.
    bool checkOutputs(Descs out, Names const& names) const {
        bool any = false;
        for (std::size_t i = 0; i < op_.outputs.size(); ++i) {
            auto const& dims = out[i].dims;
            checkShape(op_.outputs[i], dims, names);
            any = any || std::all_of(dims.d, dims.d + dims.nbDims, [](auto size) { return size > 0; });
        }
        return any;
    }

    template <class Number>
    static Number inRange(Expression const& expression, Names const& names, std::int64_t least, std::int64_t most) {
        auto const value = expression.value(Integers{names});
        if (value < least || value > most)
            fail(expression.text() + " = " + std::to_string(value) + " is not from " + std::to_string(least) + " to " +
                 std::to_string(most));
        return static_cast<Number>(value);
    }

    OpTable const& op_;
    std::vector<std::int32_t> values_;
};

}  // namespace edgesmith
