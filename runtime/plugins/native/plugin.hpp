// One class that is every fused op to TensorRT: what it answers comes from the table (node.hpp), nothing is per op.
//
// Nothing may be thrown at TensorRT: each entry point is noexcept, logs what went wrong and returns what means failure.

#pragma once

#include "driver.hpp"
#include "node.hpp"

#include <atomic>
#include <cstdio>
#include <memory>

namespace edgesmith {

static_assert(NV_TENSORRT_MAJOR >= 10, "IPluginV3 came with TensorRT 10.0");

constexpr char const* kNamespace = "edgesmith";
constexpr char const* kVersion = "1";
constexpr char const* kHashField = "kernels_hash";  // serialised beside the attributes: tactics count in one table only
constexpr std::uintptr_t kAlignment = 16;           // bytes; the kernels are compiled for such addresses

inline std::atomic<nvinfer1::ILoggerFinder*> loggerFinder{nullptr};

inline void report(std::string const& where, char const* what) noexcept {
    try {
        std::string const text = "edgesmith: " + where + ": " + what;
        nvinfer1::ILoggerFinder* const finder = loggerFinder;
        nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
        if (logger != nullptr) logger->log(nvinfer1::ILogger::Severity::kERROR, text.c_str());
        else std::fprintf(stderr, "%s\n", text.c_str());
    } catch (...) {  // not even memory for the message
        std::fputs("edgesmith: a plugin failed and could not say why\n", stderr);
    }
}

// Run `body`; what it throws is logged and becomes `failure`.
template <class Result, class Body>
Result guarded(std::string const& where, Result failure, Body&& body) noexcept {
    try {
        return body();
    } catch (std::exception const& error) {
        report(where, error.what());
    } catch (...) {
        report(where, "unknown error");
    }
    return failure;
}

// Expressions over TensorRT's symbolic sizes.
struct Symbols {
    using Value = nvinfer1::IDimensionExpr const*;
    nvinfer1::IExprBuilder& builder;
    std::array<Value, kMaxNames> const& names;

    Value number(std::int64_t n) const { return made(builder.constant(n)); }
    Value name(std::size_t index) const { return names[index]; }
    Value apply(Operator what, Value left, Value right) const {
        return made(builder.operation(operation(what), *left, *right));
    }

    static Value made(Value value) {
        if (value == nullptr) fail("TensorRT made no symbol");
        return value;
    }
    static nvinfer1::DimensionOperation operation(Operator what) {
        using nvinfer1::DimensionOperation;
        switch (what) {
        case Operator::kSum: return DimensionOperation::kSUM;
        case Operator::kSub: return DimensionOperation::kSUB;
        case Operator::kProd: return DimensionOperation::kPROD;
        case Operator::kFloorDiv: return DimensionOperation::kFLOOR_DIV;
        case Operator::kCeilDiv: return DimensionOperation::kCEIL_DIV;
        case Operator::kMin: return DimensionOperation::kMIN;
        case Operator::kMax: return DimensionOperation::kMAX;
        case Operator::kEqual: return DimensionOperation::kEQUAL;
        default: return DimensionOperation::kLESS;
        }
    }
};

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
public:
    explicit Plugin(Node node) : node_(std::move(node)), op_(node_.op()), about_(op_.name) {
        for (std::size_t i = 0; i < op_.attributes.size(); ++i)
            about_ += " " + op_.attributes[i].name + "=" + std::to_string(node_.values()[i]);
        about_ += " kernels=" + op_.hash;
    }

    // ---- what it is
    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    nvinfer1::IPluginV3* clone() noexcept override {
        return guarded(op_.name, static_cast<nvinfer1::IPluginV3*>(nullptr), [&] {
            auto copy = std::make_unique<Plugin>(node_);
            copy->tactics_ = tactics_;
            copy->tactic_ = tactic_;
            return copy.release();
        });
    }
    char const* getPluginName() const noexcept override { return op_.name.c_str(); }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

    // ---- while an engine is built
    std::int32_t getNbOutputs() const noexcept override { return static_cast<std::int32_t>(op_.outputs.size()); }

    std::int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, std::int32_t nbOutputs,
        nvinfer1::DataType const* inputTypes, std::int32_t nbInputs) const noexcept override {
        return guarded(op_.name, 1, [&] {
            node_.checkCounts(nbInputs, nbOutputs);
            for (std::size_t i = 0; i < op_.outputs.size(); ++i) {
                Type const type = op_.outputs[i].type;
                outputTypes[i] = type == Type::kT ? inputTypes[*op_.deciding()] : dataType(type);
            }
            return 0;
        });
    }

    std::int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, std::int32_t nbInputs, nvinfer1::DimsExprs const*,
        std::int32_t, nvinfer1::DimsExprs* outputs, std::int32_t nbOutputs,
        nvinfer1::IExprBuilder& exprBuilder) noexcept override {
        return guarded(op_.name, 1, [&] {
            node_.checkCounts(nbInputs, nbOutputs);
            std::array<Symbols::Value, kMaxNames> names{};
            Symbols const symbols{exprBuilder, names};
            for (std::size_t i = 0; i < op_.attributes.size(); ++i) names[i] = symbols.number(node_.values()[i]);
            for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
                Node::checkRank(op_.inputs[i], inputs[i].nbDims);
                for (std::size_t axis = 0; axis < op_.inputs[i].shape.size(); ++axis) {
                    auto const name = op_.inputs[i].shape[axis].bareName();
                    if (name && names[*name] == nullptr) names[*name] = inputs[i].d[axis];
                }
            }
            for (std::size_t i = 0; i < op_.outputs.size(); ++i) {
                auto const& shape = op_.outputs[i].shape;
                outputs[i].nbDims = static_cast<std::int32_t>(shape.size());
                for (std::size_t axis = 0; axis < shape.size(); ++axis) outputs[i].d[axis] = shape[axis].value(symbols);
            }
            return 0;
        });
    }

    // Row by row in memory; T is a type that there are kernels for, the same in all tensors of type T.
    bool supportsFormatCombination(std::int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, std::int32_t nbInputs,
        std::int32_t nbOutputs) noexcept override {
        return guarded(op_.name, false, [&] {
            node_.checkCounts(nbInputs, nbOutputs);
            auto const at = static_cast<std::size_t>(pos);
            nvinfer1::PluginTensorDesc const& asked = inOut[at].desc;
            if (asked.format != nvinfer1::TensorFormat::kLINEAR) return false;
            Type const type = at < op_.inputs.size() ? op_.inputs[at].type : op_.outputs.at(at - op_.inputs.size()).type;
            if (type != Type::kT) return asked.type == dataType(type);
            if (at != op_.deciding()) return asked.type == inOut[*op_.deciding()].desc.type;
            return std::any_of(op_.launches.begin(), op_.launches.end(),
                [&](Launch const& launch) { return launch.type == typeOf(asked.type); });
        });
    }

    std::int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, std::int32_t nbInputs,
        nvinfer1::DynamicPluginTensorDesc const*, std::int32_t nbOutputs) noexcept override {
        return guarded(op_.name, 1, [&] {
            node_.checkCounts(nbInputs, nbOutputs);
            std::vector<nvinfer1::PluginTensorDesc> inputs;
            for (std::int32_t i = 0; i < nbInputs; ++i) {
                inputs.push_back(in[i].desc);
                for (std::int32_t axis = 0; axis < in[i].desc.dims.nbDims; ++axis)
                    if (in[i].desc.dims.d[axis] < 0) inputs.back().dims.d[axis] = in[i].opt.d[axis];  // an open axis
            }
            auto const names = node_.bind(inputs.data());
            tactics_.clear();
            for (std::size_t i = 0; i < op_.launches.size(); ++i)
                if (node_.fits(op_.launches[i], inputs.data(), names)) tactics_.push_back(static_cast<std::int32_t>(i) + 1);
            if (tactics_.empty()) node_.noKernel(inputs.data());
            return 0;
        });
    }

    // Tactic n is kernel n of the table, counted from 1; 0 is the first that fits. One kernel leaves nothing to time.
    std::int32_t getNbTactics() noexcept override {
        return tactics_.size() > 1 ? static_cast<std::int32_t>(tactics_.size()) : 0;
    }
    std::int32_t getValidTactics(std::int32_t* tactics, std::int32_t nbTactics) noexcept override {
        std::copy_n(tactics_.begin(), std::min(getNbTactics(), nbTactics), tactics);
        return 0;
    }
    char const* getTimingCacheID() noexcept override { return about_.c_str(); }
    char const* getMetadataString() noexcept override { return about_.c_str(); }

    // ---- while an engine runs
    std::int32_t setTactic(std::int32_t tactic) noexcept override {
        return guarded(op_.name, 1, [&] {
            if (tactic < 0 || static_cast<std::size_t>(tactic) > op_.launches.size())
                fail("tactic " + std::to_string(tactic) + " of " + std::to_string(op_.launches.size()) + " kernels");
            tactic_ = tactic;
            return 0;
        });
    }

    std::int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, std::int32_t nbInputs,
        nvinfer1::PluginTensorDesc const*, std::int32_t nbOutputs) noexcept override {
        return guarded(op_.name, 1, [&] {
            node_.checkCounts(nbInputs, nbOutputs);
            node_.chosen(in, node_.bind(in), tactic_);
            return 0;
        });
    }

    std::int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
        void const* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept override {
        return guarded(op_.name, 1, [&] {
            auto ready = node_.ready(inputDesc, outputDesc, tactic_);
            if (!ready) return 0;  // no element, nothing to compute
            // a kernel gets the addresses of its arguments: pointers of inputs, scalars, pointers of outputs
            std::array<void const*, kMaxArguments> pointers{};
            std::array<void*, kMaxArguments> arguments{};
            std::size_t count = 0;
            auto const add = [&](void const* pointer) {
                if (reinterpret_cast<std::uintptr_t>(pointer) % kAlignment != 0)
                    fail("the address of a tensor is no multiple of " + std::to_string(kAlignment));
                pointers[count] = pointer;
                arguments[count] = static_cast<void*>(&pointers[count]);
                ++count;
            };
            for (std::size_t i = 0; i < op_.inputs.size(); ++i) add(inputs[i]);
            for (std::size_t i = 0; i < ready->launch->scalars.size(); ++i) arguments[count++] = &ready->scalars[i];
            for (std::size_t i = 0; i < op_.outputs.size(); ++i) add(outputs[i]);
            Driver& driver = Driver::get();
            auto const& launch = *ready->launch;
            auto const function = driver.function(launch.entry, launch.ptx);
            driver.launch(function, ready->grid, launch.threads, launch.sharedBytes, stream, arguments.data());
            return 0;
        });
    }

    // Driver keeps the kernels of every CUDA context, so a copy is all that an execution context needs.
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        return guarded(op_.name, static_cast<nvinfer1::PluginFieldCollection const*>(nullptr), [&] {
            using nvinfer1::PluginFieldType;
            fields_.clear();
            for (std::size_t i = 0; i < op_.attributes.size(); ++i)
                fields_.emplace_back(op_.attributes[i].name.c_str(), &node_.values()[i],
                    op_.attributes[i].isFloat ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32, 1);
            fields_.emplace_back(
                kHashField, op_.hash.data(), PluginFieldType::kCHAR, static_cast<std::int32_t>(op_.hash.size()));
            collection_ = {static_cast<std::int32_t>(fields_.size()), fields_.data()};
            return &collection_;
        });
    }

private:
    Node node_;
    OpTable const& op_;
    std::string about_;  // attributes and kernels: what a timing is good for
    std::vector<std::int32_t> tactics_;
    std::int32_t tactic_ = 0;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace edgesmith
