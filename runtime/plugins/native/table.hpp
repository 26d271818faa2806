// plugins.txt in memory: what every op takes and gives, and how its kernels are launched. See table.cpp for the lines.

#pragma once

#include "expressions.hpp"

namespace edgesmith {

constexpr std::size_t kMaxArguments = 64;  // of one kernel: inputs, scalars and outputs
constexpr std::size_t kMaxRank = 8;        // nvinfer1::Dims

enum class Type : std::uint8_t { kT, kFloat32, kFloat16, kBFloat16, kInt32 };

struct Tensor {
    std::string name;
    Type type;  // kT: the op's own, decided by the inputs of a node
    std::vector<Expression> shape;
};

struct Attribute {
    std::string name;
    bool isFloat;
    std::optional<std::int32_t> fallback;  // a float as the bits of its float32; empty: every node must give it
};

struct Launch {
    std::string entry;
    Type type;
    std::uint32_t threads;
    std::uint32_t sharedBytes;
    Expression when;
    std::array<Expression, 3> grid;
    std::vector<Expression> scalars;
    std::string ptx;
};

struct OpTable {
    std::string name;
    std::vector<Tensor> inputs;
    std::vector<Tensor> outputs;
    std::vector<Attribute> attributes;
    std::vector<Launch> launches;    // the first that fits is the default
    std::vector<std::string> names;  // what expressions read: the attributes in their order, then the symbols
    std::string hash;                // of the lines, which name every kernel by the hash of its PTX

    // The first input whose type is T; empty when no type of the op is open.
    std::optional<std::size_t> deciding() const;
};

// The text of `file`; throws std::runtime_error in words.
std::string readFile(std::string const& file);

// Every op of the `text` of plugins.txt, with the PTX files beside it in `folder`. Throws std::runtime_error that names
// the line.
std::vector<OpTable> readTable(std::string const& text, std::string const& folder);

char const* nameOf(Type type);

}  // namespace edgesmith
