"""The official client of the Model Context Protocol, over standard input and output and over HTTP, in the handshake of old and of
new versions of the protocol.

Usage: mcp.py BINARY API_URL CALLS, a JSON list of [tool, arguments]. Prints what each way of asking got, as JSON.
"""
import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

BINARY, URL, CALLS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])


async def ask(target, mode):
    async with Client(target, mode=mode) as client:
        tools = (await client.list_tools()).tools
        answers = []
        for name, arguments in CALLS:
            result = await client.call_tool(name, arguments)
            text = "".join(block.text for block in result.content)
            answers.append({"is_error": bool(result.is_error), "text": text})
        return {"tools": [tool.name for tool in tools], "answers": answers}


async def main():
    stdio = StdioServerParameters(command=BINARY, args=["mcp", "--server", URL])
    ways = {}
    for mode in ("legacy", "auto"):
        ways[f"stdio {mode}"] = await ask(stdio_client(stdio), mode)
        ways[f"http {mode}"] = await ask(f"{URL}/mcp", mode)
    print(json.dumps(ways))


asyncio.run(main())
